"""Deliberate errors in what is known of numbers that rest on sizes."""

TESTS = ["tests/ops/test_folds.py", "tests/ops/test_shape.py", "tests/ops/test_sizes.py"]

MUTANTS = [
    ("after", "space.size(element.axis, alive)", "element.value"),
    ("apply", "any(t.dynamic for t in terms)", "False"),
    ("apply", "any(t.dynamic for t in terms)", "all(t.dynamic for t in terms)"),
    ("size_of", "Term(axis.size, space.is_dynamic(axis), axis)", "Term(axis.size, False, axis)"),
    ("axes", "yield from arg.axes()", "pass"),
    ("truncated_quotient", "(a >= 0) == (b >= 0)", "True"),
]
