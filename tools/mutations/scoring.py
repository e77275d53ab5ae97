"""Deliberate errors in the scores of channels."""

FILE = "onnx_attnprune/scoring/"
TESTS = ["tests/scoring"]

MUTANTS = [
    ("attention", "strength * np.sqrt(np.mean(received, axis=0)) if received else strength", "strength"),
    ("attention", "_norm(makers) ** 0.25", "_norm(makers)"),
    ("_level", "received / rms if rms > 0 else received", "received"),
    ("_softmax_mean", "row = row[~np.isnan(row)]", "row = np.nan_to_num(row)"),
    ("_judged", '_of(blocks, "producer") or', ""),
    ("_gather", "sums[mine]", "sums[: mine.sum()]"),
    ("owners", "start += part.size", "start += 1"),
    ("owners", "np.tile(np.repeat(inner, rest), outer)", "np.repeat(np.tile(inner, rest), outer)"),
    ("_folds", "gamma / np.sqrt(variance + epsilon)", "gamma"),
    ("_received", "part /= total[:, None, :]", "pass"),
    ("_received", "weight *= mask[:, None]", "pass"),
    ("Weight.count", "int(self.alive[k].sum()) if k in self.alive else d", "d"),
]
