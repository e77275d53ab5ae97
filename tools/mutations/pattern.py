"""Deliberate errors in patterns."""

TESTS = ["tests/ops/test_registry.py", "tests/ops/test_conv.py"]

MUTANTS = [
    ("solve", "space.tie(product([axis[name] for name in names]), one)", "pass"),
    ("solve", "if missing:", "if False:"),
    ("_solve_products", "if len(free) > 1 or one.size % rest:", "if len(free) > 1:"),
    (
        "_solve_products",
        "key=lambda pair: sum(n not in axis for n in pair[0])",
        "key=lambda pair: -sum(n not in axis for n in pair[0])",
    ),
    ("_pair", "len(axes) < fixed or", ""),
    ("_pair", "axes[-tail:]", "axes[at : at + tail]"),
    ("parse", "if unknown:", "if False:"),
    ("_axes", "if axes.count((REST,)) > 1:", "if False:"),
]
