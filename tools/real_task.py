"""What a task of `bench_real` is: a trained network of a package, inputs made for it, and a score of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.runtime import Session

Array = NDArray[Any]


@dataclass(frozen=True)
class Samples:
    """Inputs of a network, one sample a row, and the truth about each (None where only the original can tell)."""

    feeds: Mapping[str, Array]
    truth: Any = None

    @property
    def size(self) -> int:
        """How many there are."""
        return min(len(a) for a in self.feeds.values())


Run = Callable[[Session, Samples], Array]


@dataclass(frozen=True)
class Task:
    """One network and how well it does.

    file: pattern of the file's name. make: samples by count and seed. score: of the outputs against the samples' truth
    and the original's outputs, 1.0 is best. run: the outputs on all samples. options: of the command line. given: what
    the command line is given as samples.
    """

    name: str
    file: str
    what: str
    make: Callable[[int, int], Samples]
    score: Callable[[Array, Samples, Array], float]
    run: Run
    options: tuple[str, ...] = ()
    evaluation: int = 256
    given: Callable[[Session, Samples], Mapping[str, Array]] = lambda _, samples: samples.feeds


def in_batches(output: int = 0, axis: int = 0, batch: int = 16) -> Run:
    """Runs the samples in batches, and joins the output of that number along the axis that counts the samples."""

    def run(session: Session, samples: Samples) -> Array:
        found = []
        for start in range(0, samples.size, batch):
            feeds = {name: array[start : start + batch] for name, array in samples.feeds.items()}
            found.append(list(session.run(feeds).values())[output])
        return np.concatenate(found, axis=axis)

    return run


def right(found: list[Any], truth: list[Any]) -> float:
    """The share of answers that are right."""
    return float(np.mean([a == b for a, b in zip(found, truth, strict=True)]))


def characters_right(found: list[str], truth: list[str]) -> float:
    """One less the edit distance, as a share of the true characters."""
    wrong = sum(edits(a, b) for a, b in zip(found, truth, strict=True))
    return max(0.0, 1 - wrong / sum(map(len, truth)))


def edits(a: str, b: str) -> int:
    """How many characters to insert, remove or replace to make one of the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]
