"""Deliberate errors in the rules of reductions."""

MUTANTS = [
    ("", '"ReduceSumSquare"}', '"ReduceSumSquare", "ReduceMean"}'),
    ("", '"ReduceL2", ', ""),
    ("", '"ReduceMax", ', ""),
    ("reduce", "13 if n.node.op", "18 if n.node.op"),
    ("reduce", 'if n.attr("noop_with_empty_axes", 0) else', "if True else"),
    ("reduce", "if not listed:", "if listed is None:"),
    ("reduce", "in ADDING and n.tensor(0).silent", "in ADDING"),
    ("reduce", "k % len(x) for k", "k for k"),
    ("reduce", 'n.node.op == "ReduceLogSum"', "False"),
    ("reduce", "n.tensor(0).silent and n.node.op in THROUGH_ZERO", "n.tensor(0).silent"),
    ("reduce", "n.tensor(0).silent and n.node.op in THROUGH_ZERO", "n.node.op in THROUGH_ZERO"),
    ("arg", 'n.keep(x[axis], "searched for the place of an extreme")', "pass"),
    ("arg", "dtype=INT64", "dtype=1"),
    ("top_k", 'n.keep(x[axis], "sorted")', "pass"),
    ("top_k", "n.opset >= 10 else", "n.opset >= 11 else"),
    ("top_k", "n.positions(int(count))", "x[axis]"),
    ("running_sum", '"summed along")', '"summed along") if False else None'),
    ("_without", "n.positions(1) if k in gone else a", "a"),
]
