"""Deliberate errors in what stays whole where rounding alone ranks what a network selects."""

FILE = "onnx_attnprune/pipeline/ties.py"
TESTS = ["tests/test_ties.py"]

MUTANTS = [
    ("steady", 'request.settings.ties == "cut" or', ""),
    ("steady", "or first.source.plan is not None", ""),
    ("steady", "made.check.moved > MOVED", "made.check.moved > 0"),
    ("steady", "and g.name not in spared", ""),
    ("steady", "except NothingToPruneError", "except LookupError"),
]
