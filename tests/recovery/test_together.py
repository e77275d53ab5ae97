"""The step for the first of two layers: the least-squares one where nothing bends, and no longer than it should be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnx_attnprune import surgery
from onnx_attnprune.recovery import together
from onnx_attnprune.recovery.few import SMALL, Heap
from onnx_attnprune.recovery.lacking import Lacking
from onnx_attnprune.recovery.producers import couples_of
from onnx_attnprune.recovery.segments import Segments
from onnx_attnprune.recovery.together import RIDGE_OUT, Together, vertex
from tests.oracle import parse
from tests.recovery.helpers import put, stored, without

TEXT = """g (float[N, 6] x) => (float[N, 4] y)
<float[6, 8] w1, float[8] b1, float[8, 4] w2> {
    a = MatMul(x, w1)
    b = Add(a, b1)
    c = ACTIVATION(b)
    y = MatMul(c, w2)
}"""
POOLED = """g (float[N, 6, 2, 2] x) => (float[N, 4, 1, 1] y)
<float[8, 6, 1, 1] w1, float[8] b1, float[4, 8, 1, 1] w2> {
    a = Conv(x, w1, b1)
    c = AveragePool<kernel_shape = [2, 2]>(a)
    y = Conv(c, w2)
}"""
KEPT = [0, 2, 3]


class Case:
    """A couple in a pruned model as it was cut, and what the unpruned one gives."""

    def __init__(self, activation: str, bias: float, text: str = TEXT, rows: int = 512) -> None:
        self.model = parse(text.replace("ACTIVATION", activation))
        put(self.model, "b1", np.full(8, bias))
        analysis, alive = without(self.model, {"w1": [k for k in range(8) if k not in KEPT]})
        self.pruned = surgery.prune(analysis, alive)
        (self.couple,) = couples_of(analysis, alive)
        rng = np.random.default_rng(0)
        dims = [d.dim_value for d in self.model.graph.input[0].type.tensor_type.shape.dim][1:]
        self.x = [rng.standard_normal((rows, *dims)).astype(np.float32) + 1 for _ in range(4)]
        runs = [{"x": x} for x in self.x]
        aim = [self.couple.aim]
        self.wanted = [held[aim[0]] for held in Segments(self.model, runs).step(aim, aim, aim, 1 << 30)]
        self.after = Segments(self.pruned, runs)
        self.after.go_on(["a"], list(self.couple.names), 1 << 30)
        self.fit = Together(analysis, alive, self.pruned, self.couple, self.after, self.wanted, 1 << 30)

    def lack(self) -> float:
        """The mean squared lack of the pruned model on the samples that are held back."""
        (found,) = [held["y"] for _, held in self.after.look(["y"], [3])]
        return float(np.mean((self.wanted[3] - found) ** 2))


def test_where_nothing_bends_the_step_is_the_least_squares_one() -> None:
    """All units are far above zero: with the second weight as it is, the first one's change is a linear problem."""
    case = Case("Relu", 40.0)
    change, shift = case.fit._direction(1e-9)
    x = np.concatenate(case.x[:3]).astype(np.float64)
    w1, w2 = stored(case.model, "w1"), stored(case.model, "w2").astype(np.float64)
    lack = np.concatenate(case.wanted[:3]) - (x @ w1[:, KEPT] + 40.0) @ w2[KEPT]
    both = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    curve = w2[KEPT] @ w2[KEPT].T
    curve += RIDGE_OUT * np.trace(curve) / 3 * np.eye(3)
    best = np.linalg.lstsq(both, lack, rcond=None)[0] @ w2[KEPT].T @ np.linalg.inv(curve)
    np.testing.assert_allclose(change, best[:-1], atol=1e-3 * np.abs(best[:-1]).max())
    np.testing.assert_allclose(shift, best[-1], atol=1e-3 * np.abs(best[-1]).max())


def test_the_step_goes_back_to_the_length_that_did_best(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("Relu", 0.3)
    before = stored(case.pruned, "w1").copy()
    change, shift = case.fit._direction(1e-4)
    told = iter([1.0, 3.0, 2.0, 1.0])  # half the step, all of it, what the parabola says, and back
    monkeypatch.setattr(Together, "_direction", lambda *_: (change, shift))
    monkeypatch.setattr(Together, "_error", lambda _: next(told))
    assert case.fit._step(1e-4, 4.0) == 1.0
    np.testing.assert_allclose(stored(case.pruned, "w1") - before, 0.5 * change, rtol=1e-3, atol=1e-6)


def test_errors_that_an_activation_hides_are_none() -> None:
    case = Case("Tanh", 0.3, TEXT.replace("y = MatMul(c, w2)", "z = MatMul(c, w2) y = Relu(z)"))
    ((_, held),) = case.after.look(["z"], [3])
    wanted, present = case.wanted[3], held["z"]
    expected = np.where(wanted < 0, np.minimum(-present, 0), wanted - present)
    assert (expected == 0).mean() > 0.1  # where both are below zero
    np.testing.assert_allclose(case.fit._lack(3, held), expected, atol=1e-6)


def test_signs_are_the_same_for_all_channels() -> None:
    signs = Case("Tanh", 0.3).fit._signs((512, 3))
    assert set(np.unique(signs)) == {-1, 1}
    assert (signs == signs[:, :1]).all()
    assert abs(signs.mean()) < 0.2


def test_where_pooling_lies_between_each_place_wants_its_share() -> None:
    """The mean of four places lacks what each of them has a fourth to do with."""
    case = Case("Relu", 0.3, POOLED)
    change, _ = case.fit._direction(1e-9)
    x = np.moveaxis(np.concatenate(case.x[:3]), 1, -1).reshape(-1, 6).astype(np.float64)
    present = np.concatenate([held["y"] for _, held in case.after.look(["y"], [0, 1, 2])])
    lack = np.repeat((np.concatenate(case.wanted[:3]) - present)[:, :, 0, 0], 4, axis=0)
    w2 = stored(case.model, "w2")[:, KEPT, 0, 0].T.astype(np.float64) / 4
    curve = w2 @ w2.T
    curve += RIDGE_OUT * np.trace(curve) / 3 * np.eye(3)
    best = np.linalg.lstsq(x - x.mean(0), lack, rcond=None)[0] @ w2.T @ np.linalg.inv(curve)
    np.testing.assert_allclose(change, best, atol=1e-3 * np.abs(best).max())


def test_fewer_rows_than_columns_are_held_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dense layer behind a large input has few rows: no matrix of its columns is made, and the step is the same."""
    wide = TEXT.replace("[N, 6]", "[N, 90]").replace("float[6, 8] w1", "float[90, 8] w1")
    case = Case("Tanh", 0.3, wide, rows=20)
    assert isinstance(case.fit._begin(20, 999, 3)[0], Heap)
    assert isinstance(case.fit._begin(90, 999, 3)[0], Lacking)
    change, shift = case.fit._direction(1e-3)
    monkeypatch.setattr(together, "rows_held", lambda *_: None)
    expected, other = case.fit._direction(1e-3)
    np.testing.assert_allclose(change, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(shift, other, atol=1e-4 * np.abs(other).max())


def test_where_moments_do_not_fit_fewer_rows_are_held() -> None:
    case = Case("Tanh", 0.3)
    case.fit._room = 0
    assert isinstance(case.fit._begin(10**6, 4000, 3)[0], Lacking)  # of six columns: so little is always there
    case.fit._views[0] = replace(case.fit._views[0], channels=6000)
    gathered, wanted = case.fit._begin(10**6, 4000, 3)
    assert isinstance(gathered, Heap)
    assert 4 * 3 * (wanted - 1) * 6003 <= SMALL // 2


def test_a_fit_lowers_the_lack_on_samples_that_it_has_not_seen() -> None:
    case = Case("Tanh", 0.3)
    before = case.lack()
    assert case.fit.fit(1e-4)
    assert case.lack() < 0.7 * before


def test_the_lowest_point_of_a_parabola() -> None:
    assert vertex([(x, 3 * (x - 0.7) ** 2 + 1) for x in (0.0, 0.5, 1.0)]) == pytest.approx(0.7)
    assert vertex([(0.0, 1.0), (0.5, 2.0), (1.0, 1.0)]) is None
