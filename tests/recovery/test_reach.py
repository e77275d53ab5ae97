"""What a repair may change: also the layer that makes channels for one consumer alone."""

from __future__ import annotations

import pytest

from onnx_attnprune.recovery import within_reach
from tests.oracle import parse
from tests.recovery.helpers import without

TEXT = """g (float[N, 6, 7, 7] x) => (float[N, 4, M, K] y{outputs})
<float[9, 6, 3, 3] w1, float[9, 1, 3, 3] wd, float[5, 9, 1, 1] w2, float[4, 5, 1, 1] w3> {{
    a = Conv(x, w1)
    b = Relu(a)
    c = Conv<group = 9>(b, wd)
    d = Softplus(c)
    e = Conv(d, w2)
    y = Conv(e, w3)
    {more}
}}"""


@pytest.mark.parametrize(
    ("outputs", "more", "expected"),
    [("", "", "aey"), (", float[N, 5, M, K] z", "z = Conv(c, w2)", "eyz")],
    ids=["alone", "for others too"],
)
def test_what_makes_channels_for_a_consumer_alone_may_be_changed(outputs: str, more: str, expected: str) -> None:
    """But not its depthwise layer, which nothing fits."""
    analysis, alive = without(parse(TEXT.format(outputs=outputs, more=more)), {"w1": [1, 4]})
    assert within_reach(analysis, alive) == set(expected)
