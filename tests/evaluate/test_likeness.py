"""How far a network says what another said: choices where there are any, else values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.likeness import AGREEMENT, LIKENESS, LOGS, Array, likeness, said

RNG = np.random.default_rng(5)
SURE = np.eye(7, dtype=np.float32)[RNG.integers(0, 7, 60)] * 6 + RNG.standard_normal((60, 7)).astype(np.float32)
TAGS = np.eye(5, dtype=np.float32)[RNG.integers(0, 5, (60, 11))] * 6
VALUES = RNG.standard_normal((60, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("scores", [SURE, TAGS, SURE.argmax(1), TAGS.argmax(2).astype(np.int32)])
def test_choices(scores: Array) -> None:
    reference = said({"y": scores}, 60)
    assert [one.chooses for one in reference] == [True]
    changed = scores.copy()
    changed[:6] = np.roll(changed[:6], 1, axis=-1) if scores.dtype.kind == "f" else changed[:6] + 1
    found = likeness(reference, {"y": changed})
    assert (found.measure, found.main) == (AGREEMENT, pytest.approx(0.9))
    assert found.each.tolist() == [0.0] * 6 + [1.0] * 54
    assert found.off > 1
    assert likeness(reference, {"y": scores}).off == 0


def test_one_of_some_dozen_choices_may_be_another() -> None:
    reference = said({"y": SURE[:32]}, 32)
    for wrong, enough in ((1, True), (2, False)):
        changed = SURE[:32].copy()
        changed[:wrong] *= -1
        assert (likeness(reference, {"y": changed}).off <= 1) == enough


@pytest.mark.parametrize(
    "array",
    [
        VALUES, RNG.standard_normal((60, 9)).astype(np.float32),  # no value stands out
        np.stack([np.full(60, 9.0), RNG.random(60)], 1),  # always the same choice
        RNG.standard_normal(60),
    ],
)  # fmt: skip  # a remark each
def test_values(array: Array) -> None:
    reference = said({"y": array}, 60)
    assert [one.chooses for one in reference] == [False]
    mean, spread = array.mean(0), array - array.mean(0)
    found = likeness(reference, {"y": mean + 0.5 * spread})
    assert (found.measure, found.main) == (LIKENESS, pytest.approx(0.75))
    assert found.each.mean() == pytest.approx(0.75)
    assert likeness(reference, {"y": mean + 0.0 * spread}).main == pytest.approx(0, abs=1e-6)
    noisy = array + RNG.standard_normal(array.shape) * math.sqrt(0.02 * float((spread**2).mean()))
    assert likeness(reference, {"y": noisy}).off <= 1


def test_probabilities_count_by_their_logarithms() -> None:
    """A class that is always the same, with small probabilities for the other one."""
    rare = np.exp(RNG.uniform(-9, -3, 60))
    reference = said({"y": np.stack([1 - rare, rare], 1)}, 60)
    assert [one.logs for one in reference] == [True]
    level = np.exp(0.5 * np.log(rare) + 0.5 * np.log(rare).mean())
    found = likeness(reference, {"y": np.stack([1 - level, level], 1)})
    assert (found.measure, found.main) == (LOGS, pytest.approx(0.75, abs=0.01))
    assert likeness(reference, {"y": np.stack([np.ones(60), np.zeros(60)], 1)}).main < 0
    assert not said({"y": np.stack([1 - rare, 2 * rare], 1)}, 60)[0].logs


def test_of_several_outputs_the_least_like_one() -> None:
    outputs = {"mask": np.ones((60, 4), np.float32), "y": SURE, "z": VALUES, "count": np.array([60])}
    reference = said(outputs, 60)
    assert [one.output for one in reference] == ["y", "z"]
    assert likeness(reference, outputs | {"z": VALUES * 0.9}).measure == LIKENESS
    assert likeness(reference, outputs | {"y": SURE[::-1]}).measure == AGREEMENT


def test_what_is_broken_is_not_like_anything() -> None:
    reference = said({"y": SURE, "z": VALUES}, 60)
    assert likeness(reference, {"z": VALUES}).main == 0
    assert likeness(reference, {"y": SURE[:, None, :3], "z": VALUES}).main == 0
    assert likeness(reference, {"y": SURE * np.nan, "z": VALUES}).main == 0
    found = likeness(reference, {"y": SURE, "z": VALUES * np.nan})
    assert math.isnan(found.main)
    assert found.off == math.inf


@pytest.mark.parametrize("array", [np.zeros((60, 3)), np.zeros((59, 3)), np.array(1.0), np.full((60, 2), np.nan)])
def test_outputs_that_say_nothing(array: Array) -> None:
    with pytest.raises(DataError, match=r"no output says of each sample .* there is: y float64"):
        said({"y": array}, 60)
