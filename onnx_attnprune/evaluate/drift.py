"""How far the outputs of two models are apart over samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.evaluate.data import Batch, Dataset, batches
from onnx_attnprune.evaluate.equivalence import Difference, compare
from onnx_attnprune.runtime import Session

Outputs = Mapping[str, NDArray[Any]]
MOST_BYTES = 512 << 20  # of outputs that are held; more samples than they are of are not looked at


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the outputs of the result are from those of the unpruned model, on `samples` rows of `inputs`."""

    inputs: str
    samples: int
    outputs: tuple[Difference, ...]


def drift_on(
    before: Session, after: Session, data: Dataset, batch_size: int, fixed_batch: int | None = None
) -> Drift:  # fmt: skip  # two lines
    """Run both models on all samples (as many as their outputs may take memory for) and compare every output."""
    ours: list[Outputs] = []
    theirs: list[Outputs] = []
    samples = held = 0
    for batch, one, two in _runs(before, after, data, batch_size, fixed_batch):
        size = sum(a.nbytes for a in (*one.values(), *two.values()))
        if ours and (held + size > MOST_BYTES or not _alike(ours[0], one)):
            break
        ours.append(one)
        theirs.append(two)
        samples, held = samples + batch.size, held + size
    names = list(ours[0])
    reference, got = _joined(ours, names), _joined(theirs, [name for name in names if name in theirs[0]])
    return Drift(f"{samples:,} samples of {data.name}", samples, compare(names, reference, got))


def drift_at(before: Session, after: Session, feeds: Outputs, inputs: str) -> Drift:
    """Run both models once and compare every output. inputs: what they are fed, for people."""
    samples = next((array.shape[0] for array in feeds.values() if array.ndim), 1)
    reference = before.run(feeds)
    return Drift(inputs, samples, compare(list(reference), reference, after.run(feeds)))


def _runs(
    before: Session, after: Session, data: Dataset, batch_size: int, fixed_batch: int | None
) -> Iterator[tuple[Batch, Outputs, Outputs]]:
    for batch in batches(data, batch_size, fixed_batch):
        rows = len(next(iter(batch.feeds.values())))
        one, two = before.run(batch.feeds), after.run(batch.feeds)
        if rows > batch.size:  # padding, where the first axis of outputs counts samples
            one, two = (
                {n: a[: batch.size] if a.ndim and len(a) == rows else a for n, a in outputs.items()}
                for outputs in (one, two)
            )
        yield batch, one, two


def _alike(one: Outputs, two: Outputs) -> bool:
    """Whether the outputs of two runs can be joined on their first axis."""
    return all(a.ndim and a.shape[1:] == two[name].shape[1:] for name, a in one.items())


def _joined(parts: Sequence[Outputs], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    found = {}
    for name in names:
        arrays = [part[name] for part in parts]
        same = all(a.ndim and a.shape[1:] == arrays[0].shape[1:] for a in arrays)
        found[name] = np.concatenate(arrays) if same and len(arrays) > 1 else arrays[0]
    return found
