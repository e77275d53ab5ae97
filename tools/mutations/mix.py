"""Deliberate errors in the repair by one map of channels."""

FILE = "onnx_attnprune/recovery/mix.py"
TESTS = ["tests/recovery/test_mix.py", "tests/recovery/test_exact.py", "tests/recovery/test_least_squares.py"]

MUTANTS = [
    ("mix", "pads(j.view) or ", ""),
    ("mix", "pairs if centred else None", "pairs"),
    ("mix", "map(by_channel, found)", "found"),
    ("pads", "any(s > 1 for s in view.spread)", "False"),
    ("pads", "(bool(view.same) and view.taps > 1)", "False"),
    ("map_of", "[:, ~stays]", "[:, stays]"),
    ("map_of", "if helps else None", "if answers else None"),
    ("Mixer.put", "self._weights.replace(jobs, new)", "pass"),
    ("Mixer.put", "if pairs is None:", "if True:"),
    ("_parts", "[:, :, out]", "[:, :, : out.sum()]"),
    ("_missed", "weight[~kept].sum(1)", "weight[~kept].mean(1)"),
    ("_missed", "np.repeat(mean[kept], taps)", "np.tile(mean[kept], taps)"),
]
