"""Deliberate errors in the rules of control flow."""

TESTS = ["tests/ops/test_control.py"]

MUTANTS = [
    ("branch", "_same(n, one, other)", "one"),
    ("_same", "n.tie(x, y)", "pass"),
    ("_same", "one.silent and other.silent", "True"),
    ("_same", 'n.keep((x, y), "of another size in the other branch")', "pass"),
    ("loop", "_handed_on(n, 2 + k, name)", "_handed_on(n, 2, name)"),
    ("_handed_on", "n.tie(a, b)", "pass"),
    ("scan", "_stacked(n, name, at, turns)", "_stacked(n, name, 0, turns)"),
    ("scan", '(n.attr("scan_input_axes") or (0,))[0]', "0"),
    ("scan_inputs", 'n.keep(axes.pop(at), "scanned over")', "axes.pop(at)"),
]
