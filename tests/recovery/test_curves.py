"""The error of a group against its width: through what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune import surgery
from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import alive_of, analyze
from onnx_attnprune.recovery import Gathered, curves, in_batches, recover
from onnx_attnprune.recovery.curves import curves_for, through, widest_cut
from onnx_attnprune.recovery.losses import Probe
from tests.recovery.helpers import run
from tests.small import cnn


def test_between_points_the_error_is_a_power_of_that_at_the_consumers() -> None:
    curve = np.array([0.0, 0.01, 0.02, 0.04, 0.16, 0.64, 1.0])
    found = through(curve, [(1, 0.001), (3, 0.016), (4, 0.032)])
    assert found[[0, 1, 3, 4]] == pytest.approx([0, 0.001, 0.016, 0.032])
    assert found[2] == pytest.approx(0.004)  # the square root of 0.001 * 0.016: half way in logarithms
    assert found[5] == pytest.approx(0.064)  # as from the third to the fourth: a power of a half
    assert found[6] == pytest.approx(0.032 * (1 / 0.16) ** 0.5)


def test_beyond_the_points_powers_are_bounded_and_errors_never_fall() -> None:
    curve = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    assert through(curve, [(1, 1e-9), (2, 0.1)])[3] == pytest.approx(0.1 * 1.5**6)
    fallen = through(curve, [(1, 0.3), (3, 0.2)])
    assert (np.diff(fallen) >= 0).all()
    assert fallen[3] == pytest.approx(0.3)
    assert through(curve, [(2, 0.5)]) == pytest.approx(curve * 2.5)
    assert through(curve, []) is curve
    flat = np.array([0.0, 0.0, 0.0, 0.4])
    assert np.isfinite(through(flat, [(1, 0.0), (2, 0.0)])).all()


def test_the_widest_cut_leaves_a_channel() -> None:
    errors = (0.0, 0.01, 0.01, 0.2, 0.9)
    assert [widest_cut(errors, limit) for limit in (0.0, 0.005, 0.01, 0.3, 2.0)] == [0, 0, 2, 3, 3]


@pytest.mark.parametrize("widest", [4608, 1])
def test_errors_are_those_of_cut_and_repaired_networks(widest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "WIDEST", widest)
    model = cnn()
    analysis = analyze(Graph(model), {"x": (8, 3, 12, 10)})
    x = np.random.default_rng(1).standard_normal((64, 3, 12, 10)).astype(np.float32)
    calibration = in_batches({"x": x}, 8, "noise")
    group = analysis.groups[0]
    orders = {g.id: np.random.default_rng(2).permutation(g.size) for g in analysis.groups}
    order, probe = orders[group.id], Probe(analysis, calibration, 64)
    every, alone = (dict(curves_for(analysis, o, Gathered(calibration), probe)) for o in (orders, {group.id: order}))
    assert list(every) == list(analysis.groups)
    found = every[group]
    assert alone == {group: found}  # whatever else is measured in the same run
    assert [gone for gone, _ in found.measured] == [2, 5, 10, 15]
    assert len(found.outputs) == len(found.consumers) == group.size + 1
    for gone, error in found.measured:
        alive = alive_of(analysis.groups, {group.id: order[:gone].tolist()})
        pruned = surgery.prune(analysis, alive)
        if widest > 1:  # else no consumer is refitted
            pruned = recover("least-squares", analysis, alive, pruned, calibration.apart[0]).model
        before, after = (run(m, {"x": x})["y"].astype(np.float64) for m in (model, pruned))
        assert error == pytest.approx(((before - after) ** 2).mean() / before.var(), rel=1e-3)
        assert found.outputs[gone] >= error * (1 - 1e-6)  # more only where a narrower cut did more harm
