"""The latency of both models on every provider that a run measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx_attnprune.evaluate.bench import Row
from onnx_attnprune.evaluate.latency import Latency
from onnx_attnprune.report.model import Report


@dataclass(frozen=True, slots=True)
class Timed:
    """One model on a provider. row: all that a bench knows of it; None where only the latency was measured.

    said: what stands for a latency where there is none ("fell back", "failed").
    """

    latency: Latency | None
    row: Row | None = None

    @property
    def said(self) -> str:
        return "" if self.row is None or self.latency is not None else self.row.outcome


@dataclass(frozen=True, slots=True)
class OnProvider:
    """Both models on one provider, fed with `shapes`. speedup: None where one of them was not measured."""

    provider: str
    before: Timed
    after: Timed
    speedup: float | None
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def reason(self) -> str:
        """Why there is no speed-up."""
        rows = (self.before.row, self.after.row)
        return next((f"{row.outcome}: {row.reason}" for row in rows if row is not None and row.reason), "")


def latencies(report: Report) -> tuple[OnProvider, ...]:
    """One entry a provider: those of --bench in their order, else the one that the run measured on."""
    return tuple(_latencies(report))


def _latencies(report: Report) -> Iterator[OnProvider]:
    speed = report.speed
    benched = {row.provider for row in report.bench}
    if speed is not None and speed.provider not in benched:
        yield OnProvider(speed.provider, Timed(speed.before), Timed(speed.after), speed.speedup, speed.shapes)
    yield from paired(report.bench)


def paired(rows: Sequence[Row]) -> Iterator[OnProvider]:
    """One entry a provider, of two rows each: the original and the pruned model."""
    for before, after in zip(rows[::2], rows[1::2], strict=True):
        factor = None if after.speed_up is None else after.speed_up.factor
        yield OnProvider(
            after.provider, Timed(before.latency, before), Timed(after.latency, after), factor, after.shapes
        )
