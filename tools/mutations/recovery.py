"""Deliberate errors in the least-squares repair."""

FILE = "onnx_attnprune/recovery/"
TESTS = ["tests/recovery/test_rows.py", "tests/recovery/test_least_squares.py"]

MUTANTS = [
    ("rows_of", "position[k] * view.strides[k]", "position[k]"),
    ("rows_of", "taps[k] * view.dilations[k]", "taps[k]"),
    (
        "rows_of",
        "zip(view.pads[:rank], view.pads[rank:], strict=True)",
        "zip(view.pads[rank:], view.pads[:rank], strict=True)",
    ),
    ("Gathering.add", "self._about = block.mean(0)", "self._about = block.mean(0) * 0"),
    ("moments", "mean + about", "mean"),
    ("fit", "seen.mean[p] @ w[p]", "0 * seen.mean[p] @ w[p]"),
    ("fit", "if error < before:", "if False:"),
    ("fit", "mean - seen.mean @ change[g]", "mean + seen.mean @ change[g]"),
    ("new_weight", 'float(consumer.node.attr("alpha", 1.0))', "1.0"),
    ("_as_matrix", 'float(consumer.node.attr("alpha", 1.0))', "1.0"),
    ("_kept_columns", "np.repeat(~consumer.removed, taps)", "np.tile(~consumer.removed, taps)"),
    ("_by_weight", "found.setdefault(key, []).append(job)", "found[(*key, len(found))] = [job]"),
    ("likely_range", "found[min(found)]", "found[max(found)]"),
    ("_inside", "np.ceil(lengths * last)", "last - np.ceil(lengths * last)"),
]
