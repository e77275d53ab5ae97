"""What is checked of models, and told of their inputs."""

from __future__ import annotations

import onnx.parser
import pytest

from onnx_attnprune.graph import Graph, index_limits
from tests.oracle import fill

TABLES = "float[7, 4] t, float[5, 4] u, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}"


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ("y = Gather (t, i)", 7),
        ("j = Cast <to=6> (i) k = Squeeze (j) y = Gather (t, k)", 7),
        ("y = Gather <axis=1> (t, i)", 4),
        ("j = Slice (i, zero, one, one) k = Gather <axis=1> (i, two) a = Gather (t, j) b = Gather (u, k) "
         "y = Concat <axis=-1> (a, b)", 5),
        ("j, k = Split <axis=1, num_outputs=2> (i) a = Gather (t, j) y = Gather (u, k)", 5),
        ("j = Concat <axis=1> (two2, i) y = Gather (t, j)", 7),
        ("j = Add (i, i) y = Gather (t, j)", 2),
        ("j = CumSum (i, one0) k = Unsqueeze (j, zero) y = Gather (t, k)", 2),
        ("s = Gather (t, i) j = Mul (i, one) y = Gather (u, j)", 2),
        ("y = GatherND (x, i)", 2),
        ("y = Gather (x, i)", 2),
        ("e = Equal (i, one) c = Cast <to=7> (e) y = Gather (t, c)", None),
    ],
)  # fmt: skip  # a table
def test_indices_stay_within_what_they_read(body: str, limit: int | None) -> None:
    numbers = f"{TABLES}, int64[3, 1] two2 = {{2, 2, 2}}, int64 one0 = {{1}}"
    text = f"g (int64[3, 2] i, float[9, 6] x) => (float[A] y) <{numbers}> {{ {body} }}"
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]>\n{text}')
    fill(model, 0)
    assert index_limits(Graph(model)).get("i") == limit
