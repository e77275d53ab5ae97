"""What NNAPI does not take, why, and what pruning changed of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from onnx_attnprune.deploy.usability import Obstacle, Usability, changes, usability
from onnx_attnprune.evaluate.feeds import input_specs, single_shapes
from onnx_attnprune.runtime.mobile import Partitions
from tests.oracle import parse
from tests.small import cnn, files


def look(text: str, folder: Path) -> Usability:
    model = parse(text)
    return usability(model, single_shapes(input_specs(model), {}), "m", folder)


def obstacles(text: str, folder: Path) -> list[tuple[str, str, int]]:
    return [(o.op, o.why, o.nodes) for o in look(text, folder).obstacles]


X = "float[N, 6, 8, 8] x"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("a, b = Split <axis = 1, num_outputs = 2> (x) y = Add(a, b)", []),
        ("a, b = Split <axis = 1> (x, e) y = Add(a, b)", []),
        ("a, b = Split <axis = 1> (x, u) y = Concat <axis = 1> (b, a)", [("Split", "its parts are not equal", 1)]),
        ("a, b = Split <axis = 2, num_outputs = 2> (x) y, z = Split <axis = 1> (a, u)",
         [("Split", "its parts are not equal", 1)]),
        ("y = DepthToSpace <blocksize = 1> (x)", []),
        ('y = DepthToSpace <blocksize = 1, mode = "CRD"> (x)', [("DepthToSpace", "mode CRD instead of DCR", 1)]),
        ("w = Abs(x) y = Conv(x, w)", [("Conv", "its weights are computed", 1)]),
        ("y = Conv(x, k)", []),
        ("s = Squeeze(x, o) y = MaxPool <kernel_shape = [2]> (s)", [("MaxPool", "over 1 dimensions instead of 2", 1)]),
        ("a = Erf(x) b = Erf(a) y = Hardmax(b)",
         [("Erf", "NNAPI has no such operator", 2), ("Hardmax", "NNAPI has no such operator", 1)]),
    ],
)  # fmt: skip  # a case a line
def test_obstacles(body: str, found: list[tuple[str, str, int]], tmp_path: Path) -> None:
    weights = "<int64[2] e = {3, 3}, int64[2] u = {2, 4}, int64[1] o = {0}, float[5, 6, 3, 3] k>"
    assert (
        obstacles(
            f"g ({X}) => (float[A, B, C, D] y)\n{weights}\n{{ {body} }}".replace(
                "float[A, B, C, D] y)", "float[A, B, C] y)" if "MaxPool" in body else "float[A, B, C, D] y)"
            ),
            tmp_path,
        )
        == found
    )
    assert files(tmp_path) == set()


def test_gemm_with_computed_weights(tmp_path: Path) -> None:
    text = "g (float[4, 4] x) => (float[4, 4] y) {{ a = Neg(x) y = Gemm <transB = {}> (x, a) }}"
    assert obstacles(text.format(0), tmp_path) == [("Gemm", "its weights are computed, and not transposed", 1)]
    assert obstacles(text.format(1), tmp_path) == []


def test_a_split_that_is_not_even_takes_the_model_apart(tmp_path: Path) -> None:
    text = f"""g ({X}) => (float[A, B, C, D] y) <int64[2] u = {{}}>
    {{ r = Relu(x) a, b = Split <axis = 1> (r, u) c = Neg(b) y = Concat <axis = 1> (a, c) }}"""
    even = look(text.replace("u = {}", "u = {3, 3}"), tmp_path)
    uneven = look(text.replace("u = {}", "u = {2, 4}"), tmp_path)
    assert (even.partitions.sizes, even.partitions.suitability) == ((4,), "yes")
    assert (uneven.partitions.sizes, uneven.partitions.supported) == ((1, 2), 3)
    assert uneven.obstacles == (Obstacle("Split", "its parts are not equal", 1, "a"),)
    told = changes(even, uneven)
    assert "after pruning" in told[0]
    assert told[1] == (
        "1 Split node more that NNAPI does not take: its parts are not equal (--deploy nnapi keeps them equal)"
    )
    assert changes(uneven, even)[1] == "1 Split node less that NNAPI does not take: its parts are not equal"


def test_channels_in_multiples(tmp_path: Path) -> None:
    model = cnn()
    found = usability(model, {"x": (1, 3, 12, 10)}, "m", tmp_path)
    assert (found.multiple, found.uneven, found.convolutions) == (8, ("w1", "w2"), 2)
    assert found.caveats == {}
    even = replace(found, uneven=())
    assert changes(even, found) == (
        "2 of 2 convolutions make channels in no multiple of 8, before 0 (--deploy nnapi rounds to it)",
    )
    assert changes(found, even) == ()


def test_caveats_that_nothing_checks(tmp_path: Path) -> None:
    found = look(f"g ({X}) => (float[A, B, C, D] y) <int64[8] p = {{0,0,1,1,0,0,1,1}}> {{ y = Pad(x, p) }}", tmp_path)
    assert list(found.caveats) == ["Pad"]


def test_nodes_without_an_operator_to_blame() -> None:
    one = Usability("m", {}, Partitions(9, 9, (9,), (), 0, 0, {}, "yes"), (), {}, 8, (), 0)
    two = replace(one, partitions=Partitions(9, 7, (7,), (), 2, 0, {}, "yes"),
                  obstacles=(Obstacle("", "a shape that is not fixed", 2, ""),))  # fmt: skip  # two lines
    assert changes(one, two) == ("2 other nodes more that NNAPI does not take: a shape that is not fixed",)
