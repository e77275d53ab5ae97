"""The registry of criteria: importance of each channel from a group's blocks. No criterion ever sees an operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.scoring.blocks import Block
from onnx_attnprune.scoring.weights import Floats, Matrix

Criterion = Callable[[Sequence[Block], np.random.Generator], Floats]


class Registry(dict[str, Criterion]):
    """Criteria by name; refuses a second one of a name, and an unknown name lists the known ones."""

    def __setitem__(self, name: str, fn: Criterion) -> None:
        if name in self:
            raise ValueError(f"there is a criterion {name!r} already")
        super().__setitem__(name, fn)

    def __missing__(self, name: str) -> Criterion:
        raise SettingsError(f"no criterion is called {name!r}; choose from: {', '.join(self)}")


CRITERIA = Registry()


@dataclass(frozen=True)
class NotApplicable(Exception):  # noqa: N818  # not an error: the caller falls back to another criterion
    """A criterion has nothing to go by in a group."""


def criterion(name: str) -> Callable[[Criterion], Criterion]:
    """Register a criterion. Raises ValueError for a name that is taken."""

    def register(fn: Criterion) -> Criterion:
        CRITERIA[name] = fn
        return fn

    return register


def _with(blocks: Sequence[Block], *roles: str) -> list[Block]:
    return [b for b in blocks if b.role in roles]


def _weighing(blocks: Sequence[Block]) -> list[Block]:
    """Producers; where a group has none, consumers; where it has none either, whatever there is."""
    return _with(blocks, "producer") or _with(blocks, "consumer") or list(blocks)


@criterion("attention")
def attention(blocks: Sequence[Block], rng: np.random.Generator) -> Floats:
    """Softmax-pooled magnitude of the producers times that of the consumers."""
    score = np.ones(blocks[0].channels)
    for side in (_with(blocks, "producer"), _with(blocks, "consumer")):
        if side:
            score *= np.sqrt(sum(_pooled(b.matrix) ** 2 for b in side))
    if not _with(blocks, "producer", "consumer"):
        return l2(blocks, rng)
    return score


def _pooled(matrix: Matrix) -> Floats:
    size = np.abs(np.nan_to_num(matrix)).astype(np.float64)
    sigma = size.std() or 1.0
    weight = np.exp((size - size.max(1, keepdims=True)) / sigma)
    return (weight * size).sum(1) / weight.sum(1) * size.shape[1] ** 0.5


@criterion("attention-literal")
def attention_literal(blocks: Sequence[Block], rng: np.random.Generator) -> Floats:
    """alpha = softmax over a channel's row of the producer, score = sum of alpha * w."""
    total = np.zeros(blocks[0].channels)
    sides = _weighing(blocks)
    for block in sides:
        rows = block.matrix.astype(np.float64)
        weight = np.nan_to_num(np.exp(rows - np.nanmax(rows, 1, keepdims=True)))
        total += (weight * np.nan_to_num(rows)).sum(1) / weight.sum(1)
    return total / len(sides)


@criterion("l1")
def l1(blocks: Sequence[Block], rng: np.random.Generator) -> Floats:
    """Sum of the producers' magnitudes."""
    return np.sum([b.total(1) for b in _weighing(blocks)], 0)


@criterion("l2")
def l2(blocks: Sequence[Block], rng: np.random.Generator) -> Floats:
    """Euclidean norm over the producers' numbers."""
    return np.sqrt(np.sum([b.total(2) for b in _weighing(blocks)], 0))


@criterion("bn-scale")
def bn_scale(blocks: Sequence[Block], rng: np.random.Generator) -> Floats:
    """Magnitude of the batch norm's scale, summed over batch norms."""
    scales = [b for b in blocks if b.role == "scale" and b.normalises]
    if not scales:
        raise NotApplicable
    return np.sum([b.total(1) for b in scales], 0)


@criterion("random")
def random(blocks: Sequence[Block], rng: np.random.Generator) -> Floats:
    """Uniform noise, the yardstick."""
    return rng.random(blocks[0].channels)
