"""A network that is run piece by piece gives what it gives as a whole, and what is held stays within bounds."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune.recovery.segments import Segments
from tests.oracle import parse
from tests.recovery.helpers import put, session, stored

TEXT = """g (float[N, 4] x) => (float[N, 3] y)
<float[4, 6] w1, float[6, 5] w2, float[5, 6] w3, float[6, 3] w4> {
    a = MatMul(x, w1)
    b = Relu(a)
    c = MatMul(b, w2)
    d = Relu(c)
    e = MatMul(d, w3)
    f = Add(e, a)
    y = MatMul(f, w4)
}"""


@pytest.mark.parametrize("room", [0, 1 << 20], ids=["nothing held", "all held"])
def test_pieces_give_what_the_whole_gives_with_the_weights_of_each_moment(room: int) -> None:
    model = parse(TEXT)
    runs = [{"x": np.random.default_rng(k).standard_normal((2, 4)).astype(np.float32)} for k in range(3)]
    whole = session(model)
    expected = [whole.run(r) for r in runs]
    pieces = Segments(model, runs)
    for k, found in enumerate(pieces.step(["b", "c"], ["c"], ["b", "c", "e", "y"], room)):
        np.testing.assert_allclose(found["c"], np.maximum(runs[k]["x"] @ stored(model, "w1"), 0) @ stored(model, "w2"),
                                   rtol=1e-5, atol=1e-5)  # fmt: skip  # one call
    put(model, "w2", 2 * stored(model, "w2"))  # just behind the cut
    changed = [session(model).run(r)["y"] for r in runs]
    assert not np.allclose(changed[0], expected[0]["y"])
    for k, found in enumerate(pieces.step(["y"], ["y"], ["y"], room)):
        np.testing.assert_allclose(found["y"], changed[k], rtol=1e-4, atol=1e-5)


def test_only_what_later_pieces_need_is_held() -> None:
    model = parse(TEXT)
    runs = [{"x": np.ones((2, 4), np.float32)}]
    pieces = Segments(model, runs)
    list(pieces.step(["c"], ["e"], ["e", "y"], 1 << 20))
    assert set(pieces._held[0]) == {"d", "a"}
