"""Deliberate errors in the statistics that batch norms take while a network is repaired on made-up samples."""

FILE = "onnx_attnprune/recovery/norms.py"
TESTS = ["tests/recovery/test_norms.py"]

MUTANTS = [
    ("Norm.alike", "LEAST * own", "0 * own"),
    ("Norm.alike", "(own + epsilon) / np.maximum(own, 1e-30)", "1.0 + 0 * own"),
    ("Norm.alike", "* above - epsilon", "* above"),
    ("norms_of", "len(graph.readers.get(name, ())) != 1", "False"),
    ("norms_of", "mean is not None and variance is not None and ", "mean is not None and "),
    ("taken_on", "        put(model, mine)\n", ""),
    ("taken_on", "(mean, norm.alike(variance))", "(0 * mean, norm.alike(variance))"),
    ("_some", "runs[k * len(runs) // count] for k in range(count)", "runs[0] for k in range(count)"),
    ("_moments", "- mean**2", ""),
    ("at_home", "calibration.foreign and ", ""),
    ("at_home", "values[left[n]]", "values[: left[n].sum()]"),
    ("at_home", "    put(found.model, plain)\n", ""),
    ("at_home", "analysis.graph.like(model)", "analysis.graph"),
]
