"""ONNX Runtime's tools for phones: fixed shapes, the analysis for NNAPI, the .ort format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_attnprune.errors import ModelError
from onnx_attnprune.runtime import Session
from onnx_attnprune.runtime.mobile import nnapi_partitions, simplified, with_fixed_shapes, write_ort_format
from tests.oracle import parse
from tests.small import cnn, files, saved


def sizes(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def partitions(text: str, folder: Path, **shapes: tuple[int, ...]) -> tuple[int, int, tuple[int, ...]]:
    found = nnapi_partitions(simplified(saved(with_fixed_shapes(parse(text), shapes), folder), folder))
    return found.nodes, found.supported, found.sizes


def test_shapes_are_fixed_in_a_copy() -> None:
    model = cnn()
    fixed = with_fixed_shapes(model, {"x": (3, 3, 12, 10)})
    assert (sizes(fixed.graph.input[0]), sizes(fixed.graph.output[0])) == ([3, 3, 12, 10], [3, 7])
    assert sizes(model.graph.input[0]) == ["N", 3, 12, 10]


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ModelError, match="the shapes can't be fixed: Can't replace existing fixed size of 3"):
        with_fixed_shapes(cnn(), {"x": (1, 4, 12, 10)})


def test_a_model_that_nnapi_takes_whole(tmp_path: Path) -> None:
    model = saved(with_fixed_shapes(cnn(), {"x": (1, 3, 12, 10)}), tmp_path)
    found = nnapi_partitions(simplified(model, tmp_path))
    assert (found.nodes, found.supported, found.sizes, found.suitability) == (7, 7, (7,), "yes")
    assert (found.unsupported, found.by_shape, found.by_rank) == ((), 0, 0)
    assert found.caveats["GlobalAveragePool"] == "Only 2D Pool is supported."


def test_a_model_in_parts(tmp_path: Path) -> None:
    text = "g (float[N, 4] x) => (float[N, 4] y) {a = Neg(x) b = Erf(a) c = Abs(b) y = Neg(c)}"
    assert partitions(text, tmp_path, x=(2, 4)) == (4, 3, (1, 2))


def test_operands_that_are_left_out_and_a_default_permutation(tmp_path: Path) -> None:
    text = """g (float[N, 3, 4, 5] x) => (float[A, B, C, D] y)
    <float[4] s = {1.0, 1.0, 2.0, 2.0}>
    { a = Resize(x, , s) y = Transpose(a) }"""
    assert partitions(text, tmp_path, x=(1, 3, 4, 5)) == (2, 2, (2,))


def test_nothing_to_look_at(tmp_path: Path) -> None:
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    with pytest.raises(ModelError, match="no nodes to look at"):
        nnapi_partitions(model)


def test_a_model_that_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nonsense")
    for ask in (
        lambda: simplified(tmp_path / "m.onnx", tmp_path),
        lambda: write_ort_format(tmp_path / "m.onnx", tmp_path / "m.ort"),
    ):
        with pytest.raises(ModelError, match=r"^ONNX Runtime can't .*[Pp]rotobuf parsing failed"):
            ask()
    assert files(tmp_path) == {"m.onnx"}


def test_the_ort_format_computes_the_same(tmp_path: Path) -> None:
    model = saved(with_fixed_shapes(cnn(), {"x": (2, 3, 12, 10)}), tmp_path)
    write_ort_format(model, tmp_path / "m.ort")
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 3, 12, 10)).astype(np.float32)}
    assert (tmp_path / "m.ort").read_bytes()[4:8] == b"ORTM"
    np.testing.assert_allclose(Session(tmp_path / "m.ort").run(feeds)["y"], Session(model).run(feeds)["y"], rtol=1e-5)
