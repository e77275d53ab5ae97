"""Where rounding is multiplied by the network itself, that is what the comparison is measured by, within bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from onnx_attnprune.errors import SelfCheckError
from onnx_attnprune.evaluate import selfcheck
from onnx_attnprune.evaluate.equivalence import TOLERANCE
from onnx_attnprune.evaluate.selfcheck import MOST, _taken, check_equivalence
from onnx_attnprune.graph import is_quantised, selected_by, selections, with_even_scales
from onnx_attnprune.runtime import Optimisation, Session

LINE = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,7] x) => (float[1,5] y) { y = MatMul(x, w) }'


def weighted(text: str, **arrays: np.ndarray) -> onnx.ModelProto:
    """The model of a text, with constants."""
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in arrays.items())
    return model


def test_a_wrong_model_stays_wrong_however_noisy_its_own_kernels_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((7, 5)).astype(np.float32)
    feeds = {"x": rng.standard_normal((1, 7)).astype(np.float32)}
    off = weighted(LINE, w=w * np.float32(1 + 2 * MOST * TOLERANCE["float32"]))
    with pytest.raises(SelfCheckError, match="is off the masked original"):
        check_equivalence(lambda: weighted(LINE, w=w), off, feeds, "float32", "x", tmp_path)


def quantised(scale: float) -> onnx.ModelProto:
    """y = dequantised(quantised(x)) times a matrix."""
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,7] x) => (float[1,5] y) {
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        y = MatMul(d, w)
    }"""
    rng = np.random.default_rng(1)
    w = rng.standard_normal((7, 5)).astype(np.float32)
    return weighted(text, w=w, s=np.float32(scale), z=np.int8(0))


def test_scales_become_powers_of_two_and_nothing_else_changes() -> None:
    model = quantised(0.3)
    even = with_even_scales(model)
    before = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in even.graph.initializer}
    assert is_quantised(model)
    assert float(after["s"]) == 0.25
    assert before["s"] == np.float32(0.3)
    np.testing.assert_array_equal(before["w"], after["w"])
    assert not is_quantised(weighted(LINE, w=before["w"]))


def test_a_value_that_tips_over_to_the_next_step_is_no_difference(tmp_path: Path) -> None:
    model, tipped = quantised(0.3), quantised(0.3)
    node = helper.make_node("Mul", ["x", "almost"], ["x_scaled"])
    tipped.graph.node.insert(0, node)
    tipped.graph.node[1].input[0] = "x_scaled"
    tipped.graph.initializer.append(numpy_helper.from_array(np.float32(1 + 1e-6), "almost"))
    x = np.full((1, 7), 0.3 * 2.5, np.float32)  # in the middle between two steps
    x[0, 0] = 0.3 * 2.5 * (1 - 5e-7)
    check = check_equivalence(lambda: model, tipped, {"x": x}, "float32", "x", tmp_path)
    assert "powers of two" in check.inputs
    wrong = quantised(0.3)
    wrong.graph.initializer[0].CopyFrom(
        helper.make_tensor("w", TensorProto.FLOAT, (7, 5), np.ones(35, np.float32).tolist())
    )
    with pytest.raises(SelfCheckError):
        check_equivalence(lambda: model, wrong, {"x": x}, "float32", "x", tmp_path)


class Saturating(Session):
    """What a processor without VNNI does: 8-bit products are off, but for those that are asked to be precise."""

    def __init__(self, model: bytes, *, optimisation: Optimisation) -> None:
        super().__init__(model, optimisation=optimisation, threads=1)
        self.off = 0.0 if optimisation is Optimisation.PRECISE else 0.1

    def run(self, feeds: dict[str, np.ndarray], output_names: list[str] | None = None) -> dict[str, np.ndarray]:
        rng = np.random.default_rng()
        found = super().run(feeds, output_names)
        return {k: (v + self.off * rng.standard_normal(v.shape)).astype(v.dtype) for k, v in found.items()}


def test_kernels_that_saturate_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "Session", Saturating)
    x = {"x": np.random.default_rng(2).standard_normal((1, 7)).astype(np.float32)}
    check = check_equivalence(lambda: quantised(0.3), quantised(0.3), x, "float32", "x", tmp_path)
    assert check.inputs.endswith("powers of two, 8-bit kernels that don't saturate")
    wrong = quantised(0.3)
    wrong.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((7, 5), np.float32), "w"))
    with pytest.raises(SelfCheckError):
        check_equivalence(lambda: quantised(0.3), wrong, x, "float32", "x", tmp_path)


SELECT = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,7] x) => (float[1,3] y) {
    a = MatMul(x, w)
    v, i = TopK(a, k)
    y = MatMul(v, u)
}"""
K = np.array([2], np.int64)


def selecting(w: np.ndarray, u: np.ndarray) -> onnx.ModelProto:
    """The two largest of x w, times u."""
    return weighted(SELECT, w=w, u=u, k=K)


def two_models(nudge: float) -> tuple[onnx.ModelProto, onnx.ModelProto, dict[str, np.ndarray]]:
    """Two columns of w tie but for a hair, and `nudge` decides which of the two is the larger one; both come far apart
    behind the selection, because the indices are what is given out."""
    text = SELECT.replace("float[1,3] y", "int64[1,2] i").replace("y = MatMul(v, u)", "")
    rng = np.random.default_rng(3)
    w = rng.standard_normal((7, 5)).astype(np.float32) * np.float32(0.1)
    x = np.ones((1, 7), np.float32)
    w[:, 1] = w[:, 3] = 1.0
    other = w.copy()
    w[0, 1] += np.float32(1e-6)
    other[0, 3] += np.float32(nudge)
    return weighted(text, w=w, k=K), weighted(text, w=other, k=K), {"x": x}


def test_scores_that_tie_may_change_places(tmp_path: Path) -> None:
    model, tipped, feeds = two_models(1e-6)
    check = check_equivalence(lambda: model, tipped, feeds, "float32", "x", tmp_path)
    assert "select by" in check.inputs
    assert [d.output for d in check.differences] == ["a"]
    assert check.moved == 1.0  # the two have changed places
    assert check.tolerance == TOLERANCE["float32"]  # how far rows go that change places is no noise of the scores


def test_scores_that_differ_may_not(tmp_path: Path) -> None:
    model, wrong, feeds = two_models(0.5)
    with pytest.raises(SelfCheckError, match="'a' is off"):
        check_equivalence(lambda: model, wrong, feeds, "float32", "x", tmp_path)


def test_what_is_cut_behind_a_selection_has_to_come_out_the_same() -> None:
    rng = np.random.default_rng(0)
    w, u = (rng.standard_normal(s).astype(np.float32) for s in ((7, 5), (2, 3)))
    model = selecting(w, u)
    assert selected_by(model, selecting(w[:, :4], u)) == ["a"]
    assert selected_by(model, selecting(w, u[:, :2])) == []


def test_a_node_that_the_cut_puts_in_before_a_selection_is_no_change_behind_it() -> None:
    rng = np.random.default_rng(0)
    w, u = (rng.standard_normal(s).astype(np.float32) for s in ((7, 5), (2, 3)))
    model, scaled = selecting(w, u), selecting(w, u)
    scaled.graph.node[0].output[0] = "a_inner"
    scaled.graph.node.insert(1, helper.make_node("Mul", ["a_inner", "half"], ["a"]))
    scaled.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))
    assert selected_by(model, scaled) == ["a"]
    behind = selecting(w, u)
    behind.graph.node[2].input[0] = "a"
    assert selected_by(model, behind) == []


def test_what_is_selected_by_what_a_selection_gives_is_no_rank_of_its_own() -> None:
    text = SELECT.replace("y = MatMul(v, u)", "s, j = TopK(v, k)\n    y = MatMul(s, u)")
    rng = np.random.default_rng(0)
    w, u = (rng.standard_normal(s).astype(np.float32) for s in ((7, 5), (2, 3)))
    model = weighted(text, w=w, u=u, k=K)
    assert selections(model, selected_by(model, model)) == {"i": "TopK"}


def test_a_box_that_is_suppressed_is_one_place_however_many_move_up() -> None:
    boxes = np.array([[0, 0, 5], [0, 1, 2], [0, 1, 7]], np.int64)
    assert len(_taken("NonMaxSuppression", boxes) & _taken("NonMaxSuppression", boxes[1:])) == 2
    ranks = np.array([[4, 2, 7], [1, 0, 3]], np.int64)
    assert len(_taken("TopK", ranks) & _taken("TopK", ranks[:, [1, 0, 2]])) == 2
    assert len(_taken("TopK", ranks) & _taken("TopK", ranks[::-1])) == 0


SIGMOID = """<ir_version: 8, opset_import: ["" : 17]> g (float[2,7] x) => (float[2,5,1] y, float[2,5] n) {
    n = MatMul(x, u)
    a = MatMul(x, w)
    s = Sigmoid(a)
    y = Reshape(s, k)
}"""


def far_below(scale: float, by: float = 0.0) -> onnx.ModelProto:
    """A sigmoid of numbers about -17, which follows their own rounding as exp does; and another output."""
    rng = np.random.default_rng(4)
    w = (-np.float32(60) + rng.random((7, 5), np.float32)) * np.float32(scale)
    u = rng.standard_normal((7, 5)).astype(np.float32) + np.float32(by)
    return weighted(SIGMOID, w=w, u=u, k=np.array([2, 5, 1], np.int64))


def test_a_saturated_sigmoid_is_compared_before_it(tmp_path: Path) -> None:
    x = {"x": np.full((2, 7), 0.04, np.float32)}
    check = check_equivalence(lambda: far_below(1), far_below(1 + 2e-4), x, "float32", "x", tmp_path)
    assert "before the sigmoids" in check.inputs
    assert [d.output for d in check.differences] == ["a", "n"]
    assert 0 < check.largest <= check.tolerance == TOLERANCE["float32"]


def test_before_a_saturated_sigmoid_a_mistake_is_seen(tmp_path: Path) -> None:
    x = {"x": np.full((2, 7), 0.04, np.float32)}
    with pytest.raises(SelfCheckError, match="'a' is off"):
        check_equivalence(lambda: far_below(1), far_below(1.01), x, "float32", "x", tmp_path)
    with pytest.raises(SelfCheckError, match="'n' is off"):
        check_equivalence(lambda: far_below(1), far_below(1 + 2e-4, 0.1), x, "float32", "x", tmp_path)
