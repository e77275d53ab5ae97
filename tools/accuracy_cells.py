"""One cell of the table of `bench_accuracy`: a network, which groups, a ratio, a criterion and a repair, to a top-1."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from onnx_attnprune import surgery
from onnx_attnprune.evaluate.data import Dataset
from onnx_attnprune.evaluate.metrics import evaluate
from onnx_attnprune.pipeline.choice import Work, choose_channels
from onnx_attnprune.pipeline.repair import repair
from onnx_attnprune.pipeline.request import Clock, Request
from onnx_attnprune.pipeline.source import Source, read
from onnx_attnprune.planning import Settings, Streams
from onnx_attnprune.runtime import Session

PARTS = ("inner", "whole")
BATCH = 250


@dataclass(frozen=True)
class Cell:
    """What was measured. part: "inner" leaves residual streams whole, "whole" takes all groups.

    who: "onnx-attnprune", or the peer. repair: the method, with "+samples" where it saw unlabelled ones. channels,
    macs: the shares that are left. top1: in percent, on `images` images.
    """

    network: str
    part: str
    ratio: float
    who: str
    criterion: str
    repair: str
    top1: float
    images: int
    channels: float | None = None
    macs: float | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from the others."""
        return (self.network, self.part, self.ratio, self.who, self.criterion, self.repair, self.images)


class Results:
    """All cells so far, kept in a JSON file, so that a run that was cut short goes on where it was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        stored = json.loads(path.read_text()) if path.exists() else []
        self._cells = {c.key: c for c in (Cell(**entry) for entry in stored)}

    def __contains__(self, key: tuple[object, ...]) -> bool:
        return key in self._cells

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._cells.values())

    def add(self, cells: Sequence[Cell]) -> None:
        """Keep some cells; the file is replaced as a whole."""
        self._cells.update({c.key: c for c in cells})
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps([asdict(c) for c in self._cells.values()], indent=0))
        partial.replace(self._path)


def default_criterion(recover: str) -> str:
    """What the command line scores by where nobody says: with samples obs, without them attention."""
    return "obs" if "+" in recover else "attention"


class Bench:
    """One network with its images: prunes and measures in memory, as the command line would from file to file."""

    def __init__(self, model: Path, evaluation: Path, calibration: Path, images: int) -> None:
        self.model, self.images = model, images
        plain = Request(model, Path("out.onnx"), Settings(), evaluation=evaluation, round_to=1)
        self._without = plain
        self._with = replace(plain, calibration=calibration)
        self._sources: dict[bool, Source] = {}

    def source(self, samples: bool) -> Source:
        """The model, read once with and once without samples."""
        if samples not in self._sources:
            self._sources[samples] = read(self._with if samples else self._without, _silent())
        return self._sources[samples]

    @cached_property
    def data(self) -> Dataset:
        """The first images of the evaluation data."""
        whole = self.source(False).data
        assert whole is not None
        assert whole.labels is not None
        return Dataset({n: a[: self.images] for n, a in whole.feeds.items()}, whole.labels[: self.images], self.images)

    @property
    def unpruned_key(self) -> tuple[object, ...]:
        """The key of the cell of the network as it is."""
        return (self.model.stem, "whole", 0.0, "unpruned", "", "", self.images)

    def unpruned(self) -> Cell:
        """The network as it is."""
        top1 = evaluate(Session(self.source(False).model), self.data, BATCH).top1
        return Cell(self.model.stem, "whole", 0.0, "unpruned", "", "", 100 * top1, self.images, 1.0, 1.0)

    def key(self, part: str, ratio: float, criterion: str, recover: str) -> tuple[object, ...]:
        """The key of the cell that `measure` would give."""
        return (self.model.stem, part, ratio, "onnx-attnprune", criterion, recover, self.images)

    def measure(self, part: str, ratio: float, criterion: str, recover: str) -> Cell:
        """Prune, repair, count the right answers. A group keeps at least one channel."""
        method, _, samples = recover.partition("+")
        streams: Streams = "keep" if part == "inner" else "cut"
        # Torch-Pruning narrows attention heads, and so do we here; whole heads are our default, and cost more.
        settings = Settings(ratio=ratio, criterion=criterion, streams=streams, attention="head-dims")
        request = replace(self._with if samples else self._without, settings=settings, recover=method)
        source = self.source(bool(samples))
        work = choose_channels(request, source, source.shapes, _silent())
        pruned = surgery.prune(work.analysis, work.alive)
        repaired = repair(request, source, work, pruned).model
        top1 = evaluate(Session(repaired), self.data, BATCH).top1
        cell = Cell(self.model.stem, part, ratio, "onnx-attnprune", criterion, recover, 100 * top1, self.images)
        return replace(cell, channels=_channels(work), macs=work.analysis.macs(work.alive) / work.analysis.macs({}))


def _channels(work: Work) -> float:
    total = sum(g.size for g in work.plan.groups)
    return 1 - sum(len(g.removed) for g in work.plan.groups) / total


def _silent() -> Clock:
    return Clock(lambda _: None)
