"""Deliberate errors in where the channels of a ratio are taken from."""

FILE = "onnx_attnprune/pipeline/choice.py"
TESTS = ["tests/test_budgets.py", "tests/test_holding.py"]

MUTANTS = [
    ("_of_ratio", " or budgets.request.fits", ""),
    ("_of_ratio", "settings if decided is not None else", "settings if True else"),
    ("_of_ratio", "(*made.notes, *notes)", "made.notes"),
]
