"""Runs side by side, and those of them that no other beats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from onnx_attnprune.errors import ReportError, SettingsError
from onnx_attnprune.report.comparison.model import Comparison, Front, Point, Quality, Run

COSTS: tuple[tuple[str, Callable[[Run], float | None]], ...] = (
    ("MACs", lambda run: run.macs),
    ("bytes", lambda run: run.size),
    ("latency", lambda run: run.latency),
)
SAME = 0.005  # two runs may round the unpruned model's figures so differently, on other machines


def compare(runs: Sequence[Run]) -> Comparison:
    """Hold runs on one model against each other. Raises ReportError for runs on different models."""
    if len(runs) < 2:
        raise SettingsError("give two reports or more to compare")
    for run in runs[1:]:
        _same_model(runs[0], run)
    found, notes = _qualities(runs)
    some = next((q for q in found if q is not None), None)
    values = tuple(None if q is None else q.after for q in found)
    original = None if some is None else some.before
    if len({str(run.shapes) for run in runs}) > 1:
        notes.append("the reports count MACs at different input shapes: shares of them are compared")
    return Comparison(
        runs=tuple(runs),
        measure="" if some is None else f"{some.measure} on {some.data}",
        shares=some is not None and some.measure == "top-1",
        original=original,
        qualities=values,
        fronts=() if original is None else tuple(_fronts(runs, original, values)),
        differing=dict(_differing([run.settings for run in runs])),
        notes=tuple(notes),
    )


def front(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points that no other beats: none is as cheap and as good, and cheaper or better (the Pareto front)."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.quality)):
        if not best or point.quality > best[-1].quality:
            best.append(point)
    return tuple(best)


def _same_model(one: Run, other: Run) -> None:
    if one.sha256 and other.sha256:
        if one.sha256 != other.sha256:
            raise ReportError(
                f"{other.path}: a report on another model than {one.path} (sha256 {other.sha256[:12]}…, not "
                f"{one.sha256[:12]}…)"
            )
    elif one.identity != other.identity:
        raise ReportError(
            f"{other.path}: a report on another model than {one.path} ({other.identity[0]:,} parameters and "
            f"{other.identity[1]:,} channels, not {one.identity[0]:,} and {one.identity[1]:,})"
        )


def _qualities(runs: Sequence[Run]) -> tuple[list[Quality | None], list[str]]:
    """One measure for all: accuracy where all that were measured have the same, else the likeness of the outputs."""
    ways = ([run.accuracy for run in runs], [run.likeness for run in runs])
    measured = [k for k in range(len(runs)) if any(way[k] is not None for way in ways)]
    notes = [f"{run.path}: not measured (a dry run)" for k, run in enumerate(runs) if k not in measured]
    for way in ways:
        chosen = [way[k] for k in measured]
        if chosen and None not in chosen and all(_alike(chosen[0], other) for other in chosen):
            return way, notes
        if way is ways[0] and any(q is not None for q in chosen):
            notes.append("accuracy was not measured by all, or not on the same data: the outputs' likeness is compared")
    if measured:
        notes.append("the reports have no measure of quality on the same data in common: only costs are compared")
    return [None for _ in runs], notes


def _alike(one: Quality | None, other: Quality | None) -> bool:
    assert one is not None
    assert other is not None
    same = (one.measure, one.data, one.samples) == (other.measure, other.data, other.samples)
    return same and abs(one.before - other.before) <= SAME * max(1.0, abs(one.before))


def _fronts(runs: Sequence[Run], original: float, qualities: Sequence[float | None]) -> Iterator[Front]:
    for name, cost_of in COSTS:
        points = [Point(0, 1.0, original)]
        for number, (run, quality) in enumerate(zip(runs, qualities, strict=True), 1):
            cost = cost_of(run)
            if cost is not None and quality is not None:
                points.append(Point(number, cost, quality))
        if len(points) > 1:
            yield Front(name, tuple(points), front(points))


def _differing(settings: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for key in dict.fromkeys(key for each in settings for key in each):
        values = tuple(each.get(key) for each in settings)
        if any(value != values[0] for value in values):
            yield key, values
