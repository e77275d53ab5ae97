"""What every method of recovery does, and the one that does nothing."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune import surgery
from onnx_attnprune.errors import SettingsError
from onnx_attnprune.recovery import recover
from tests.oracle import parse
from tests.recovery.helpers import put, run, without

# Every channel of h is the sum of the inputs, so that a mean over any of them is the mean over all.
ALIKE = """g (float[N, 4] x) => (float[N, 1] m, float[N, 3] y) <float[4, 5] w, float[5, 3] v>
{ h = MatMul (x, w) m = ReduceMean <axes = [1], keepdims = 1> (h) t = Mul (h, m) y = MatMul (t, v) }"""


@pytest.mark.parametrize(("method", "share"), [("none", 0.6), ("mean", 1.0)])
def test_a_repair_begins_with_means_over_what_is_left(method: str, share: float) -> None:
    model = parse(ALIKE, 13)
    put(model, "w", np.ones((4, 5)))
    analysis, alive = without(model, {"w": [1, 4]})
    x = {"x": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}
    pruned = surgery.prune(analysis, alive)
    for _ in range(2):  # a second method may have to step in for a first one
        repaired = recover(method, analysis, alive, pruned).model
        np.testing.assert_allclose(run(repaired, x)["m"], share * run(model, x)["m"], rtol=1e-5)


def test_unknown_method() -> None:
    model = parse(ALIKE, 13)
    analysis, alive = without(model, {"w": [1]})
    with pytest.raises(SettingsError, match="no recovery method is called 'magic'; choose from: "):
        recover("magic", analysis, alive, surgery.prune(analysis, alive))
