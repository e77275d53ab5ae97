"""The error of each group against its width: the curve is what a fit at each width leaves."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune.graph import Graph
from onnx_attnprune.grouping import Analysis, alive_of, analyze
from onnx_attnprune.recovery import Gathered, in_batches, losses_of
from onnx_attnprune.recovery.calibration import Calibration
from onnx_attnprune.recovery.jobs import views_of
from onnx_attnprune.recovery.least_squares import fit, gather, jobs_of
from onnx_attnprune.recovery.losses import bent, curve_of
from onnx_attnprune.recovery.readings import readings_of
from tests.small import cnn


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyze(Graph(cnn()), {"x": (8, 3, 12, 10)})


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    x = np.random.default_rng(1).standard_normal((96, 3, 12, 10)).astype(np.float32)
    return in_batches({"x": x}, 8, "noise")


def test_the_curve_is_the_error_of_a_fit_at_each_width(analysis: Analysis, calibration: Calibration) -> None:
    group = analysis.groups[0]
    order = np.random.default_rng(2).permutation(group.size)
    readings = readings_of(analysis, [group], {})[group.id]
    moments = gather(analysis.graph.model, [r.views for r in readings], calibration)
    curve = curve_of(order, readings, moments)
    assert len(curve) == group.size + 1
    for gone in (1, 7, 13, 19):
        (job,), _ = jobs_of(analysis, alive_of(analysis.groups, {group.id: tuple(order[:gone].tolist())}))
        (seen, _), w = moments[views_of([job])][0], job.weight[0]
        found = fit(job, [(seen, seen)], 1e-9)
        total = float(np.einsum("io,io->", w, seen.covariance @ w))
        assert curve[gone] == pytest.approx(found.error / total, rel=0.05)  # its ridge is larger


def test_losses_rise_from_nothing_and_follow_the_outputs(analysis: Analysis, calibration: Calibration) -> None:
    order = {g.id: np.arange(g.size) for g in analysis.groups}
    told: list[str] = []
    found = losses_of(analysis, order, Gathered(calibration), 64, told.append)
    for g in analysis.groups:
        assert found[g.id][0] == 0
        assert (np.diff(found[g.id]) >= 0).all()
        assert 0 < found[g.id][g.size // 2] < found[g.id][g.size * 3 // 4] < 2
    assert told == ["error of group 1 of 2", "error of group 2 of 2"]


def test_a_bent_curve_goes_through_both_points() -> None:
    curve = np.array([0.0, 0.01, 0.04, 0.2, 1.0])
    found = bent(curve, [(0.04, 0.001), (0.2, 0.1)])
    assert found[[0, 2, 3]] == pytest.approx([0, 0.001, 0.1])
    assert bent(curve, [(0.04, 0.002)]) == pytest.approx(curve / 20)
    assert bent(curve, []) is curve
    steep = bent(curve, [(0.04, 1e-9), (0.2, 0.1)])  # bounded: a power of 6
    assert steep[3] / steep[2] == pytest.approx(5.0**6)
