"""Deliberate errors in the rules of operators with channels last."""

MUTANTS = [
    ("channels_first", "(0, rank - 1, *range(1, rank - 1))", "(0, *range(1, rank))"),
    ("nhwc_conv", "1: channels_first(rank)", "1: range(rank)"),
    ("nhwc_qlinear_conv", "turned={0: channels_first(rank)}", "turned={}"),
    ("nhwc_max_pool", "rest=n.tensor(0).rest", "rest=None"),
    ("group_norm", "n.tensor(0)", "n.tensor(1)"),
    ("skip_group_norm", "n.tie(skip[one], x[other])", "pass"),
    ("_normalised", '{"groups": v["g"]}', "{}"),
    ("_normalised", 'n.keep(v["c"], "normalised over within a group")', "pass"),
]
