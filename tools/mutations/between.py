"""Deliberate errors in the way back through what lies between the two layers of a couple."""

FILE = "onnx_attnprune/recovery/between.py"
TESTS = ["tests/recovery/test_between.py", "tests/recovery/test_producers.py"]

MUTANTS = [
    ("Singles._slope", "(2 * nudge)", "nudge"),
    ("Singles._slope", "(up - down)", "(up + down)"),
    ("Singles.opened", "(self.source, *self.fixed)", "(self.source,)"),
    ("Singles.names", ", *self.fixed", ""),
    ("Windows._weighted", "(last * weight for", "(last for"),
    ("Depthwise.opened", "list(mender.matrix(self.job)[0]", "list(mender.matrix(self.job)[0][::-1]"),
    ("Average.opened", "beyond=float(self.whole)", "beyond=0.0"),
    ("Average.opened", "beyond=float(self.whole)", "beyond=1.0"),
    ("Average.opened", "1 / count", "1 / self.taps"),
    ("Largest.opened", "beyond=-np.inf", "beyond=0.0"),
    ("Largest.opened", "free &= ~here", "pass"),
]
