"""Made-up pictures: noise as surfaces have it, clouds, leaves upon each other, things before a ground.

What they have in common with photographs and drawings is what the layers of a network look for: edges at every angle
and of every length, surfaces of one colour, shades and textures, and a thing that stands out from what is behind it.
Sources: dead leaves and 1/f noise as in Baradad et al., "Learning to See by Looking at Noise" (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float64]  # [colours, height, width], in no particular range
Shape = tuple[int, ...]
Maker = Callable[[Shape, np.random.Generator], Picture]
COLOURS, SHARED = 3, (0.6, 1.0)  # the share of a colour that all colours have in common
LEAVES, PATCHES = (5, 40), 4  # on a ground; on a thing, and behind it


def picture(number: int, shape: Shape, rng: np.random.Generator) -> Picture:
    """One of a row of pictures, from 0 on, whose kinds come in turns, every time from another one on: each kind also
    comes among every fourth or every third picture. Three colours go together, as in photographs, where most of what
    one shows the others show too."""
    make = KINDS[(number + number // len(KINDS)) % len(KINDS)]
    own = make(shape, rng)
    if shape[0] != COLOURS:
        return own
    share = rng.uniform(*SHARED)
    grey = make((1, *shape[1:]), rng)
    return np.asarray(share * standard(grey) + np.sqrt(1 - share**2) * standard(own))


def standard(image: Picture) -> Picture:
    """Of zero mean and unit variance."""
    return np.asarray((image - image.mean()) / (image.std() + 1e-6))


def noise(shape: Shape, rng: np.random.Generator) -> Picture:
    """Noise whose amplitude falls with some power of frequency, stretched along some direction."""
    fall, angle, stretch = rng.uniform(0.5, 2.2), rng.uniform(0, np.pi), np.exp(rng.normal(0, 0.5))
    y, x = _frequencies(shape)
    along, across = _turned(y, x, angle)
    radius = np.maximum(np.hypot(along * stretch, across / stretch), 1 / max(shape[-2:]))
    return standard(np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) / radius**fall).real)


def clouds(shape: Shape, rng: np.random.Generator) -> Picture:
    """Noise that is smooth over some part of the picture: shades without an edge."""
    width = rng.uniform(0.6, 4.8) / max(shape[-2:])
    y, x = _frequencies(shape)
    window = np.exp(-(y**2 + x**2) / (2 * width**2))
    return np.asarray(np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) * window).real)


def leaves(shape: Shape, rng: np.random.Generator) -> Picture:
    """Leaves of random shapes, places and colours upon each other, on a ground."""
    image = _surface(shape, rng)
    for _ in range(rng.integers(*LEAVES)):
        image = np.where(_leaf(shape, rng, _size(rng, 0.05, 0.6)), _colour(shape, rng), image)
    return image


def thing(shape: Shape, rng: np.random.Generator) -> Picture:
    """A thing with a rough outline near the middle, before a ground; both have patches on them."""
    y, x = _places(shape)
    rough = standard(clouds((1, *shape[-2:]), rng)) * rng.uniform(0.02, 0.12)
    middle = np.hypot(y - rng.normal(0, 0.1), x - rng.normal(0, 0.1)) + rough < rng.uniform(0.15, 0.45)
    ground, front = _patched(shape, rng, (0.05, 0.6)), _patched(shape, rng, (0.05, 0.2))
    return np.where(middle, front, ground)


KINDS: tuple[Maker, ...] = (noise, leaves, thing, clouds)


def _patched(shape: Shape, rng: np.random.Generator, sizes: tuple[float, float]) -> Picture:
    image = _surface(shape, rng)
    for _ in range(rng.integers(0, PATCHES)):
        image = np.where(_leaf(shape, rng, _size(rng, *sizes)), _surface(shape, rng), image)
    return image


def _surface(shape: Shape, rng: np.random.Generator) -> Picture:
    """A colour: plain, shaded from one side, rough, or with waves on it."""
    colour = _colour(shape, rng)
    return np.asarray(colour + (_plain, _shade, _rough, _waves)[rng.integers(4)](shape, rng))


def _plain(shape: Shape, rng: np.random.Generator) -> Picture:
    return np.zeros(shape)


def _shade(shape: Shape, rng: np.random.Generator) -> Picture:
    along = _along(*_places(shape), rng.uniform(0, 2 * np.pi))
    return np.asarray(2 * along * _colour(shape, rng))


def _rough(shape: Shape, rng: np.random.Generator) -> Picture:
    return noise(shape, rng) * rng.uniform(0.1, 0.6)


def _waves(shape: Shape, rng: np.random.Generator) -> Picture:
    """Up to three trains of waves, soft or with sharp edges, everywhere or in one place."""
    (y, x), image = _places(shape), np.zeros(shape)
    for _ in range(rng.integers(1, 4)):
        along = _along(y, x, rng.uniform(0, np.pi))
        count = _size(rng, 1, max(min(shape[-2:]) / 4, 1))
        wave = np.sin(2 * np.pi * (count * along + rng.random()))
        if rng.random() < 0.5:
            wave = np.sign(wave) * np.abs(wave) ** rng.random()
        if rng.random() < 0.5:
            top, left = rng.uniform(-0.5, 0.5, 2)
            wave = wave * np.exp(-((y - top) ** 2 + (x - left) ** 2) / (2 * rng.uniform(0.08, 0.4) ** 2))
        image = image + wave * _colour(shape, rng)
    return np.asarray(image * rng.uniform(0.1, 0.6))


def _leaf(shape: Shape, rng: np.random.Generator, size: float) -> NDArray[np.bool_]:
    """Where an ellipse, a rectangle or a polygon lies, turned and stretched: [height, width]."""
    y, x = _places(shape)
    top, left = rng.uniform(-0.5, 0.5, 2)
    along, across = _turned(y - top, x - left, rng.uniform(0, np.pi))
    stretch = np.exp(rng.normal(0, 0.5))
    along, across = along / (size * stretch), across / (size / stretch)
    kind = rng.integers(3)
    if kind == 0:
        return np.asarray(along**2 + across**2 < 1)
    if kind == 1:
        return np.asarray(np.maximum(np.abs(along), np.abs(across)) < 1)
    sides = rng.integers(3, 7)
    inside = np.ones(along.shape, np.bool_)
    for k in range(sides):
        inside &= _along(across, along, 2 * np.pi * k / sides) < rng.uniform(0.5, 1)
    return inside


def _places(shape: Shape) -> tuple[Picture, Picture]:
    """Where each row of pixels is, [height, 1], and each column, [width]: from -1/2 to 1/2."""
    y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in shape[-2:])
    return y[:, None], x


def _frequencies(shape: Shape) -> tuple[Picture, Picture]:
    """Of each row of a spectrum, [height, 1], and of each column, [width]."""
    y, x = (np.asarray(np.fft.fftfreq(n), np.float64) for n in shape[-2:])
    return y[:, None], x


def _turned(y: Picture, x: Picture, angle: float) -> tuple[Picture, Picture]:
    """Along a direction and across it."""
    return _along(y, x, angle), y * math.cos(angle) - x * math.sin(angle)


def _along(y: Picture, x: Picture, angle: float) -> Picture:
    return x * math.cos(angle) + y * math.sin(angle)


def _colour(shape: Shape, rng: np.random.Generator) -> Picture:
    return rng.standard_normal((*shape[:-2], 1, 1))


def _size(rng: np.random.Generator, least: float, most: float) -> float:
    """As likely to be between 1 and 2 as between 2 and 4."""
    return math.exp(rng.uniform(math.log(least), math.log(most)))
