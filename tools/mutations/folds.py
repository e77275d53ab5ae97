"""Deliberate errors in the arithmetic on sizes."""

TESTS = ["tests/ops/test_folds.py", "tests/ops/test_sizes.py"]

MUTANTS = [
    ("", '"Sub": lambda a, b: a - b', '"Sub": lambda a, b: b - a'),
    ("", '"Where": lambda c, a, b: a if c else b', '"Where": lambda c, a, b: b if c else a'),
    ("_div", "truncated_quotient", "lambda a, b: a // b"),
    ("_cast", "bool if to == 9 else int", "int"),
    ("_concat", 'int(node.attr("axis", 0))', "0"),
    ("_gather", "if terms(xs[1]):", "if False:"),
    ("_slice", "axes = more[0] if more else range(len(starts))", "axes = range(len(starts))"),
    ("_relaid", "xs[0].shape[k] if s == 0 else", ""),
    ("_relaid", 'node.attr("perm")', "None"),
    ("_constant_of_shape", "fill.data_type in FLOATS", "False"),
    ("_expand", "if terms(xs[1]) or xs[1].size > 1:", "if False:"),
    ("_range", "np.arange(start, limit, delta)", "np.arange(start, limit)"),
    ("_reduce", "out.reshape(1) if", "out.reshape(()) if"),
    ("_reduce", "if xs[0].ndim != 1:", "if False:"),
]
