"""What settings refuse, and what patterns match."""

from __future__ import annotations

import math

import pytest

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import analyze
from onnx_attnprune.planning import HEADS, SCOPES, Settings
from onnx_attnprune.planning.settings import matching
from tests.small import cnn


@pytest.mark.parametrize("ratio", [0, 1, -1, 1.5, math.nan, math.inf])
def test_ratios_that_make_no_sense(ratio: float) -> None:
    with pytest.raises(SettingsError, match=r"--ratio .* lies between 0 and 1"):
        Settings(ratio=ratio)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"threshold": 0.5}, "got --ratio, --threshold"),
        ({"ratio": None}, "got nothing"),
        ({"ratio": None, "threshold": 0.0}, "--threshold 0"),
        ({"ratio": None, "threshold": math.nan}, "--threshold nan"),
        ({"ratio": None, "top_k": 0}, "--top-k 0"),
        ({"ratio": None, "top_k": 3, "scope": "global"}, "--scope global"),
        ({"max_ratio": 1.0}, "--max-ratio 1"),
        ({"max_ratio": math.nan}, "--max-ratio nan"),
        ({"steps": 0}, "--steps 0"),
        ({"steps": 1001}, "--steps 1001: 1,000 at most"),
        ({"seed": -1}, "--seed -1: must be at least 0"),
        ({"round_to": 0}, "--round-to 0"),
        ({"min_channels": 0}, "--min-channels 0"),
        ({"streams": "some"}, "--streams 'some' is not one of cut, keep"),
        ({"ties": "some"}, "--ties 'some' is not one of keep, cut"),
        ({"layer_ratios": (("w1", 1.0),)}, "--layer-ratio w1 1"),
        ({"layer_ratios": (("w1", math.nan),)}, "--layer-ratio w1 nan"),
        ({"scope": "local"}, "not one of layer, global"),
        ({"attention": "head"}, "not one of auto, heads"),
    ],
)
def test_what_makes_no_sense(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        Settings(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_what_makes_sense() -> None:
    assert Settings(layer_ratios=(("w1", 0.0),)).cap == 1.0
    assert Settings(scope="global").cap == 0.6  # twice the ratio
    assert Settings(ratio=0.7, scope="global").cap == 0.9
    assert Settings(ratio=None, threshold=1.0).cap == 0.9
    assert Settings(ratio=None, top_k=1, max_ratio=0.5).cap == 0.5
    for scope in SCOPES:
        assert Settings(scope=scope).scope == scope
    for heads in HEADS:
        assert Settings(attention=heads).as_dict()["attention"] == heads


def test_patterns() -> None:
    groups = analyze(Graph(cnn())).groups
    assert [g.size for g in groups] == [20, 36]
    assert matching("w1", groups, "--include") == {0}
    assert matching("b?", groups, "--include") == {0, 1}
    assert matching("w[23]", groups, "--include") == {0, 1}  # w2 takes the channels of the first group in
    assert matching("a", groups, "--include") == {0}  # a node without a name goes by its first output
    with pytest.raises(SettingsError, match=r"--exclude 'W1' matches no tensor or node .*\(such as w1, w2\)"):
        matching("W1", groups, "--exclude")


def test_a_name_with_brackets_matches_itself() -> None:
    model = cnn()
    model.graph.initializer[0].name = model.graph.node[0].input[1] = "layers[0].w"
    groups = analyze(Graph(model)).groups
    assert matching("layers[0].w", groups, "--include") == {0}
