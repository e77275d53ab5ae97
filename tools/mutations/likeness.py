"""Deliberate errors in how like what one network says is to what another says."""

FILE = "onnx_attnprune/evaluate/likeness.py"
TESTS = ["tests/evaluate/test_likeness.py"]

MUTANTS = [
    ("likeness", "return max(", "return min("),
    ("said", "np.ptp(values, 0).any()", "True"),
    ("_chooses", "counts.max() < KEPT * counts.sum()", "True"),
    ("_chooses", "<= 0", "> 0"),
    ("_choice", "np.isnan(array).any(-1)", "False"),
]
