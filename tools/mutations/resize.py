"""Deliberate errors in the rules of resampling."""

MUTANTS = [
    ("resize", '"tf_crop_and_resize"', '"tf_crop"'),
    ("resize", "2 if n.opset >= 11 else 1", "2 if n.opset >= 12 else 1"),
    ("resize", "int(k) % len(x) for k in axes", "k for k, _ in enumerate(axes)"),
    ("upsample", "n.opset >= 9 else", "n.opset >= 10 else"),
    ("upsample", "scales, list(", "[1.0] * 9, list("),
    ("_by_scales", "scale != 1", "math.floor(out[k].size * scale) != out[k].size"),
    ("_by_scales", 'n.keep(out[k], "resampled")', "pass"),
    ("_by_scales", "silent=n.tensor(0).silent", "silent=False"),
    ("_to_sizes", "restated[i] = out[k] if", "restated[i] = None if"),
    ("_to_sizes", "min(ratios) if", "max(ratios) if"),
    ("_to_sizes", '== "not_larger"', '!= "not_larger"'),
    ("_to_sizes", 'n.keep([out[k] for k in places], "resampled by a scale that all axes share")', "pass"),
    ("_to_sizes", 'n.keep(out[k], "resampled")', "pass"),
    ("_late", "n.keep([out[k] for k in places], LATE)", "pass"),
    ("_late", "n.keep_operand(at, LATE)", "pass"),
]
