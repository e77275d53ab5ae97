"""Deliberate errors in what rules are given."""

FILE = "onnx_attnprune/ops/"
TESTS = [
    "tests/ops/test_registry.py",
    "tests/ops/test_elementwise.py",
    "tests/ops/test_reduce.py",
    "tests/ops/test_shape.py",
    "tests/ops/test_slicing.py",
]

MUTANTS = [
    ("broadcast", "space.tie(wide[0], other)", "pass"),
    ("broadcast", "a.size != 1 or", "a.size != 5 or"),
    (
        "spans",
        "all(self.space.is_kept(a) for a in (*missing, *repeated))",
        "all(self.space.is_kept(a) for a in missing)",
    ),
    (
        "spans",
        "all(self.space.is_kept(a) for a in (*missing, *repeated))",
        "all(self.space.is_kept(a) for a in repeated)",
    ),
    ("keep_operand", "self.keep(self.tensor(place).axes or (), why)", "pass"),
    ("rule.register", "if (domain, name) in RULES:", "if False:"),
    ("axis_attr", "axis % max(rank, 1)", "axis"),
    ("is_square", "exponent.array() == 2", "exponent.array() > 0"),
    ("is_square", 'maker.op == "Mul" and maker.inputs[0] == maker.inputs[1]', 'maker.op == "Mul"'),
    ("is_square", 'maker.op == "Mul" and maker.inputs[0] == maker.inputs[1]', "False"),
    ("is_square", 'maker.op == "Pow" and', "False and"),
]
