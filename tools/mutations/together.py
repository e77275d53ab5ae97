"""Deliberate errors in the fit of a couple of layers."""

FILE = "onnx_attnprune/recovery/together.py"
TESTS = ["tests/recovery/test_together.py", "tests/recovery/test_paired.py"]

MUTANTS = [
    ("Together._direction", "* slope\n", "\n"),
    ("Together._direction", "@ inverse, lack=", "@ np.eye(len(inverse)), lack="),
    ("Together._direction", "change, shift_with(problem, change, centred=True)", "change, 0 * problem.lack"),
    ("Together._direction", "_ridged(by_channel @ by_channel.T", "_ridged(by_channel @ by_channel.T * 100"),
    ("Together._lack", "target.low, target.high", "-np.inf, np.inf"),
    ("Together._step", "if best != done:", "if False:"),
    ("Together._step", "length - done) * change", "length) * change"),
    ("Together._slope", "(2 * nudge)", "nudge"),
    ("Together._refit", "kept - results_at", "kept + results_at"),
    ("Together.fit", "            self._refit(ridge)\n", ""),
    ("vertex", "-slope / (2 * curve)", "-slope / curve"),
    ("_ridged", "matrix + ridge", "ridge"),
]
