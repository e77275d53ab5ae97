"""What several reports say together, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

FORMAT, VERSION = "onnx-attnprune/comparison", 1


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a model is by one measure (higher is better), before and after, on `samples` of `data`."""

    measure: str
    data: str
    samples: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Run:
    """What one report says. Costs are shares of the original's that are left; None where the run did not measure it.

    size: of the file. latency: one over the speed-up; latency_ms: the median of the pruned model. identity: by what
    two reports on the same model are known where one of them has no hash.
    """

    path: str
    model: str
    sha256: str
    identity: tuple[int, ...]
    shapes: Mapping[str, Any]
    command: str
    settings: Mapping[str, Any]
    macs: float
    parameters: float
    size: float | None
    latency: float | None
    latency_ms: float | None
    accuracy: Quality | None
    likeness: Quality | None


@dataclass(frozen=True, slots=True)
class Point:
    """A model's place: what it costs and how good it is. run: which one, from 1; 0 is the original."""

    run: int
    cost: float
    quality: float


@dataclass(frozen=True, slots=True)
class Front:
    """All runs by one cost. best: those that no other beats in cost and quality at once, the cheapest first."""

    cost: str
    points: tuple[Point, ...]
    best: tuple[Point, ...]

    def has(self, run: int) -> bool:
        """Whether a run is one that no other beats."""
        return any(point.run == run for point in self.best)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs on one model. measure: what their quality is ("": the reports have none in common).

    original: the quality of the unpruned model. qualities: one a run, None where it was not measured. differing: the
    settings that are not the same in all runs, each with a value per run.
    """

    runs: tuple[Run, ...]
    measure: str
    shares: bool
    original: float | None
    qualities: tuple[float | None, ...]
    fronts: tuple[Front, ...]
    differing: Mapping[str, tuple[Any, ...]]
    notes: tuple[str, ...]

    def best_for(self, run: int) -> tuple[str, ...]:
        """The costs by which no other beats a run (from 1; 0 is the original)."""
        return tuple(front.cost for front in self.fronts if front.has(run))

    def quality_text(self, quality: float | None) -> str:
        """A quality as a reader expects it."""
        if quality is None:
            return "-"
        return f"{quality:.2%}" if self.shares else f"{quality:.4f}"

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain data for JSON, with its format and version."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}
