"""The registry of criteria: importance of each channel from a group's blocks. No criterion ever sees an operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.scoring.blocks import Block
from onnx_attnprune.scoring.weights import Floats, Matrix

# None: the criterion has nothing to go by in this group.
Criterion = Callable[[Sequence[Block], np.random.Generator], "Floats | None"]


class Registry(dict[str, Criterion]):
    """Criteria by name; a second one of a name is a ValueError, an unknown name a SettingsError that lists them."""

    def __setitem__(self, name: str, fn: Criterion) -> None:
        if name in self:
            raise ValueError(f"there is a criterion {name!r} already")
        super().__setitem__(name, fn)

    def __missing__(self, name: str) -> Criterion:
        raise SettingsError(f"no criterion is called {name!r}; choose from: {', '.join((*self, *SAMPLED))}")


CRITERIA = Registry()
# Criteria that go by what consumers see of samples: floors above measure, see `Samples`.
SAMPLED = ("activation", "obs")


def criterion(name: str) -> Callable[[Criterion], Criterion]:
    """Register a criterion. Raises ValueError for a name that is taken."""

    def register(fn: Criterion) -> Criterion:
        CRITERIA[name] = fn
        return fn

    return register


def _of(blocks: Sequence[Block], role: str) -> list[Block]:
    return [b for b in blocks if b.role == role]


def _scales(blocks: Sequence[Block]) -> list[Block]:
    return [b for b in blocks if b.role == "scale" and b.normalises]


def _judged(blocks: Sequence[Block]) -> list[Block]:
    """What a magnitude is taken of: producers, else consumers, else everything."""
    return _of(blocks, "producer") or _of(blocks, "consumer") or list(blocks)


def _norm(blocks: Sequence[Block]) -> Floats:
    out: Floats = np.sqrt(np.sum([b.total(2) for b in blocks], axis=0))
    return out


@criterion("attention")
def attention(blocks: Sequence[Block], rng: np.random.Generator) -> Floats | None:
    """The attention that a channel receives from its consumers, times the strength of its signal.

    Each output of a consumer spreads softmax(|w| / rms(W)) over all of that consumer's inputs and hands each of them
    softmax * |w|; a channel's part is the sum over outputs. Consumers count alike: each is divided by its own root
    mean square over the channels, and the root of the mean square is taken. The strength is |gamma| where batch norm
    sets it (several: root of the sum of squares); elsewhere the fourth root of the producers' L2 norm, because a norm
    without its input's scale says little of the signal, but a channel that nothing feeds is worth nothing.
    `docs/criteria.md` has the measurements that chose this form.
    """
    scales, makers, readers = _scales(blocks), _of(blocks, "producer"), _of(blocks, "consumer")
    if not makers and not readers:
        return None
    strength = _norm(scales) if scales else _norm(makers) ** 0.25 if makers else np.ones(blocks[0].channels)
    received = [_level(b.attention()) ** 2 for b in readers]
    return strength * np.sqrt(np.mean(received, axis=0)) if received else strength


def _level(received: Floats) -> Floats:
    rms = np.sqrt(np.mean(received**2))
    out: Floats = received / rms if rms > 0 else received
    return out


@criterion("attention-literal")
def attention_literal(blocks: Sequence[Block], rng: np.random.Generator) -> Floats:
    """alpha_i = softmax(W_i) over the row of channel i, score_i = sum_j alpha_ij W_ij; the mean over producers.

    It may be negative, which the shift to [0, 1] takes care of. A row is all that a channel has in a producer.
    """
    judged = _judged(blocks)
    rows = [np.array([_softmax_mean(row) for row in block.matrix]) for block in judged]
    out: Floats = np.mean(rows, axis=0)
    return out


def _softmax_mean(row: Matrix) -> float:
    """sum(softmax(row) * row); 0 for a row without numbers. The nan that fill a row up stand at its end."""
    if np.isnan(row[-1]):
        row = row[~np.isnan(row)]
    if not row.size:
        return 0.0
    alpha = np.exp(row - row.max())
    return float(alpha @ row) / float(alpha.sum())


@criterion("l1")
def l1(blocks: Sequence[Block], rng: np.random.Generator) -> Floats:
    """The sum of magnitudes over all producers (Li et al., Pruning Filters for Efficient ConvNets, 2017)."""
    out: Floats = np.sum([b.total(1) for b in _judged(blocks)], axis=0)
    return out


@criterion("l2")
def l2(blocks: Sequence[Block], rng: np.random.Generator) -> Floats:
    """The Euclidean norm over all producers."""
    return _norm(_judged(blocks))


@criterion("bn-scale")
def bn_scale(blocks: Sequence[Block], rng: np.random.Generator) -> Floats | None:
    """|gamma| of the group's normalisations, summed (Liu et al., Network Slimming, 2017); None without one."""
    scales = _scales(blocks)
    if not scales:
        return None
    out: Floats = np.sum([b.total(1) for b in scales], axis=0)
    return out


@criterion("random")
def random(blocks: Sequence[Block], rng: np.random.Generator) -> Floats:
    """Uniform noise: the yardstick."""
    return rng.random(blocks[0].channels)
