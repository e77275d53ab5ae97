"""Moments are gathered once, whoever asks for them, and no more are held than were asked for last."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune.graph import Graph, ModelProto
from onnx_attnprune.grouping import Analysis, analyze
from onnx_attnprune.recovery import Gathered, gathered, in_batches, losses_of, samples_of
from onnx_attnprune.recovery.calibration import Calibration
from onnx_attnprune.recovery.jobs import Views
from onnx_attnprune.recovery.least_squares import AllMoments, gather
from onnx_attnprune.recovery.readings import pooled, readings_of
from onnx_attnprune.recovery.rows import Array, Moments
from tests.small import cnn


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyze(Graph(cnn()), {"x": (8, 3, 12, 10)})


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[Views]]:
    """What the network was run for."""
    found: list[list[Views]] = []

    def counted(model: ModelProto, sources: list[Views], calibration: Calibration) -> AllMoments:
        found.append(list(sources))
        return gather(model, sources, calibration)

    monkeypatch.setattr(gathered, "gather", counted)
    return found


def samples() -> Calibration:
    x = np.random.default_rng(1).standard_normal((64, 3, 12, 10)).astype(np.float32)
    return in_batches({"x": x}, 8, "noise")


def views(analysis: Analysis) -> list[Views]:
    found = readings_of(analysis, analysis.groups, {})
    return [r.views for group in analysis.groups for r in found[group.id]]


def test_what_is_held_is_what_was_asked_for_last(analysis: Analysis, runs: list[list[Views]]) -> None:
    model, (one, *others) = analysis.graph.model, views(analysis)
    assert others
    whole = Gathered(samples())
    first = whole.moments(model, [one, one])
    assert whole.moments(model, [one, *others])[one] is first[one]
    assert set(whole.moments(model, others)) == set(others)
    whole.moments(model, [one])
    whole.forget()
    whole.moments(model, [one])
    assert [r for r in runs if r] == [[one], others, [one], [one]]


def test_moments_are_those_of_the_samples_to_fit_on(analysis: Analysis) -> None:
    calibration, model, wanted = samples(), analysis.graph.model, views(analysis)
    found, expected = Gathered(calibration).moments(model, wanted), gather(model, wanted, calibration.apart[0])
    for one in wanted:
        for (seen, unseen), (by, other) in zip(found[one], expected[one], strict=True):
            np.testing.assert_array_equal(seen.covariance, by.covariance)
            np.testing.assert_array_equal(unseen.mean, other.mean)


def test_a_criterion_and_the_losses_need_one_run(analysis: Analysis, runs: list[list[Views]]) -> None:
    whole = Gathered(samples())
    errors = samples_of(analysis, whole).judge("obs", {})
    losses_of(analysis, {g.id: np.argsort(errors[g.id]) for g in analysis.groups}, whole, 16)
    assert len([r for r in runs if r]) == 1


def of(rows: Array) -> Moments:
    mean = rows.mean(0) if len(rows) else np.zeros(rows.shape[1])
    return Moments(mean, (rows - mean).T @ (rows - mean) / max(len(rows), 1), len(rows))


def test_moments_of_two_parts_are_those_of_all_rows() -> None:
    rows = np.random.default_rng(3).standard_normal((50, 600)) @ np.diag(np.arange(600)) + 5
    rows[:20] += np.arange(600)
    one, other, every = (of(part) for part in (rows[:20], rows[20:], rows))
    found = pooled(one, other)
    assert found.rows == 50
    np.testing.assert_allclose(found.mean, every.mean, rtol=1e-9)
    np.testing.assert_allclose(found.covariance, every.covariance, atol=1e-9 * np.abs(every.covariance).max())
    assert pooled(one, of(rows[:0])) is one
