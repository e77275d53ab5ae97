"""Deliberate errors in the fit of a couple of layers."""

FILE = "onnx_attnprune/recovery/together.py"
TESTS = ["tests/recovery/test_together.py", "tests/recovery/test_paired.py"]

MUTANTS = [
    (
        "Together._direction",
        "lack = back(spread_back(other, self._lack(k, held), weight, read.shape))",
        "lack = spread_back(other, self._lack(k, held), weight, read.shape)",
    ),
    ("Together._direction", "by_channel.T * ways / max(rows, 1)", "by_channel.T"),
    ("Together._way", "steps, said)", "steps[:-1], said)"),
    ("Together._signs", "[1 if k == axis else n", "[n if k == axis else n"),
    ("Together._signs", "np.array([-1, 1], np.float32)", "np.array([1, 1], np.float32)"),
    ("Together._direction", "return change @ inverse,", "return change,"),
    ("Together._direction", "shift_with(problem, change, centred=True) @ inverse", "0 * problem.lack"),
    ("Together._direction", "_ridged(by_channel @ by_channel.T", "_ridged(by_channel @ by_channel.T * 100"),
    ("Together._lack", "target.low, target.high", "-np.inf, np.inf"),
    ("Together._step", "if best != done:", "if False:"),
    ("Together._step", "length - done) * change", "length) * change"),
    ("Together._refit", "kept - results_at", "kept + results_at"),
    ("Together.fit", "            self._refit(ridge)\n", ""),
    ("vertex", "-slope / (2 * curve)", "-slope / curve"),
    ("_ridged", "matrix + ridge", "ridge"),
]
