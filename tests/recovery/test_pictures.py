"""Made-up pictures: kinds in turns, smooth along space, edges where leaves end, at any size and number of axes."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_attnprune.recovery import pictures
from onnx_attnprune.recovery.pictures import KINDS, clouds, leaves, noise, picture, thing

SHAPES = [(3, 24, 20), (1, 28, 28), (2, 5, 9, 12), (3, 1, 1), (4, 3, 40)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_every_kind_has_any_shape(kind: int, shape: tuple[int, ...]) -> None:
    found = KINDS[kind](shape, np.random.default_rng(0))
    assert found.shape == shape
    assert np.isfinite(found).all()
    if np.prod(shape[-2:]) > 1:
        assert found.std() > 0.01


def test_kinds_come_in_turns_also_among_every_fourth_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tuple(lambda shape, rng, k=k: np.full(shape, float(k)) for k in range(len(KINDS)))
    monkeypatch.setattr(pictures, "KINDS", made)
    found = [int(picture(n, (1, 2, 3), np.random.default_rng(0))[0, 0, 0]) for n in range(4 * len(KINDS))]
    everyone = set(range(len(KINDS)))
    assert all(set(found[k : k + len(KINDS)]) == everyone for k in range(0, len(found), len(KINDS)))
    assert set(found[3::4]) == everyone
    assert [f is g for f, g in zip(KINDS, (noise, leaves, thing, clouds), strict=True)] == [True] * len(KINDS)


def test_noise_is_stronger_at_low_frequencies_and_lies_in_a_direction() -> None:
    rng = np.random.default_rng(0)
    down, across = np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32), indexing="ij")
    radius = np.hypot(down, across)
    upright, level = ((radius > 0.15) & (np.abs(a) > 2 * np.abs(b)) for a, b in ((across, down), (down, across)))
    low, high, turned = [], [], []
    for _ in range(40):
        power = np.abs(np.fft.fft2(noise((1, 32, 32), rng)[0])) ** 2
        low.append(power[(radius > 0) & (radius < 0.1)].mean())
        high.append(power[radius > 0.4].mean())
        turned.append(power[upright].mean() / power[level].mean())
    assert np.median(np.array(low) / high) > 10
    assert np.std(np.log(turned)) > 1  # of noise that is alike in every direction 0.2


def test_leaves_are_plain_and_end_in_edges() -> None:
    rng = np.random.default_rng(0)
    same = [np.mean(np.diff(leaves((1, 48, 48), rng)[0], axis=1) == 0) for _ in range(20)]
    assert np.mean(same) > 0.5
    assert np.max(same) < 0.99


def test_a_thing_stands_before_its_ground() -> None:
    rng = np.random.default_rng(1)
    apart = []
    for _ in range(60):
        image = thing((1, 40, 40), rng)[0]
        edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        apart.append(abs(np.median(image[17:23, 17:23]) - np.median(edge)) / image.std())
    assert np.median(apart) > 0.8
