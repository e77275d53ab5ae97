"""Deliberate errors in the least-squares repair."""

FILE = "onnx_attnprune/recovery/"
TESTS = [
    "tests/recovery/test_rows.py",
    "tests/recovery/test_solving.py",
    "tests/recovery/test_lacking.py",
    "tests/recovery/test_least_squares.py",
    "tests/recovery/test_compensate.py",
    "tests/recovery/test_jobs.py",
]

MUTANTS = [
    ("rows_at", "p * s for p, s in", "p for p, s in"),
    ("rows_at", "place[k] * view.dilations[k]", "place[k]"),
    ("rows_at", "(k - 1) * -d if d < 0 else 0", "0"),
    ("rows_at", "flat[:, g * width : (g + 1) * width]", "flat[:, :width]"),
    ("_pads", "list(view.pads[:rank]), list(view.pads[rank:])", "list(view.pads[rank:]), list(view.pads[:rank])"),
    ("_pads", '(less, more) if view.same == "upper"', '(more, less) if view.same == "upper"'),
    ("_padded_sizes", "(n - 1) * s + 1", "n * s"),
    ("Blocks.rest", "self._about = block.mean(0)", "self._about = block.mean(0) * 0"),
    ("Gathering.moments", "mean + self._blocks.about", "mean"),
    ("lost", "m[p] @ w", "0 * m[p] @ w"),
    ("lost", "c[np.ix_(s, p)] @ w", "0 * c[np.ix_(s, p)] @ w"),
    ("shift_with", "problem.lack - problem.mean @ change", "problem.lack + problem.mean @ change"),
    ("_single", "p * s for p, s in", "p for p, s in"),
    ("_picked", "np.divmod(chosen, space)", "np.divmod(chosen, space + 1)"),
    ("Lacking.problem", "cross -= np.outer(x, t)", "pass"),
    ("Lacking.problem", "- float(t @ t)", ""),
    ("Lacking.problem", "covariance[part] -= np.outer(x[part], x)", "pass"),
    ("settle", "seen if unseen is None else unseen", "seen"),
    ("best", "if found is not None and answer.error >= found.error:", "if False:"),
    ("best", "max(ridge, shrinkage(seen))", "ridge"),
    ("put", "better = sound and helps and found.error < found.before", "better = True"),
    ("put", "found.shift if better else found.plain", "found.plain"),
    ("Form.matrix", "self.alpha * ", ""),
    ("Form.weight", "matrix / self.alpha", "matrix"),
    ("kept_columns", "np.repeat(~consumer.removed, view.taps)", "np.tile(~consumer.removed, view.taps)"),
    ("by_weight", "found.setdefault(key, []).append(job)", "found[(*key, len(found))] = [job]"),
    ("by_weight", "c.form, ", '"", '),
    ("likely_range", "found[min(found)]", "found[max(found)]"),
    ("_inside", "np.ceil(lengths * last)", "last - np.ceil(lengths * last)"),
]
