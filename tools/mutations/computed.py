"""Deliberate errors in what can go from weights that a file computes."""

FILE = "onnx_attnprune/grouping/computed.py"
TESTS = ["tests/test_computed_weights.py"]

MUTANTS = [
    ("heed_folds", "and data is not None and data.silent", ""),
    ("heed_folds", "if made and k != fold.axis:", "if False:"),
    ("heed_folds", "replace(t, silent=False)", "t"),
    ("heed_folds", "if not (made or fed or", "if not (made or"),
    ("heed_folds", "k == linear.into == fold.axis", "False"),
]
