"""Deliberate errors in the choice of channels: counts, candidates, budgets."""

FILE = "onnx_attnprune/planning/"
TESTS = ["tests/planning"]

MUTANTS = [
    ("lowest", "np.argsort(scores", "np.argsort(-scores"),
    ("_global_counts", "if taken[owner] < limit[owner]:", "if True:"),
    ("below", "[: settings.top_k].mean()", "[-settings.top_k :].mean()"),
    ("emptied", "and v.id in alive", ""),
    ("kept_counts", "owed += _asked(quota) - counts[k]", "pass"),
    ("_options", "low = max(quota.least, 1, ", "low = max(1, "),
    ("_spans", "factor * axis.size // part.size", "factor"),
    ("first_within", "if left(path[middle]) <= target:", "if left(path[middle]) < target:"),
    ("grown", "if left(larger) <= target:", "if True:"),
    ("_hull", "corners.pop()", "break"),
    ("_steps", "if stamp != version[group]:", "if False:"),
    ("time_terms", "and not node.subgraphs", ""),
    ("removed_by", "for group in emptied(analysis, removed):", "for group in ():"),
]
