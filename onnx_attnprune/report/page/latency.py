"""The part of a page that tells how fast both models are, on every provider that was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx_attnprune.evaluate.latency import Latency
from onnx_attnprune.report.latencies import OnProvider, Timed
from onnx_attnprune.report.page.chart import Bar, Chart, bars
from onnx_attnprune.runtime import PROVIDERS

KINDS = {"original": "var(--soft)", "pruned": "var(--kept)"}


@dataclass(frozen=True, slots=True)
class Measured:
    """One row of the table: a model on a provider, as texts."""

    provider: str
    model: str
    cells: tuple[str, ...]
    sessions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """chart: None where nothing was measured. benched: whether `sessions` of the rows say anything.

    notes: what was not measured and why, and what a provider leaves to the CPU. said: the speed-up on each provider.
    """

    chart: Chart | None
    rows: tuple[Measured, ...]
    benched: bool
    shapes: Mapping[str, tuple[int, ...]]
    said: tuple[str, ...]
    notes: tuple[str, ...]


def section(found: Sequence[OnProvider]) -> Section | None:
    """The section of the providers; None where nobody asked for one."""
    if not found:
        return None
    pairs = [(p, name, timed) for p in found for name, timed in zip(KINDS, (p.before, p.after), strict=True)]
    return Section(
        chart=_chart(found),
        rows=tuple(Measured(p.provider, name, _cells(t), _sessions(t, p.provider)) for p, name, t in pairs),
        benched=any(t.row is not None for _, _, t in pairs),
        shapes=found[0].shapes,
        said=tuple(_said(p) for p in found if p.speedup is not None),
        notes=tuple(_notes(found)),
    )


def _chart(found: Sequence[OnProvider]) -> Chart | None:
    # Only our own names of providers go into a drawing.
    shown = [p for p in found if p.provider in PROVIDERS]
    drawn = [
        Bar(p.provider, kind, timed.latency.median_ms, f"{timed.latency.median_ms:.3g} ms")
        for p in shown
        for kind, timed in zip(KINDS, (p.before, p.after), strict=True)
        if timed.latency is not None
    ]
    if not drawn:
        return None
    alt = "Median latency: " + "; ".join(f"{bar.kind} on {bar.group} {bar.label}" for bar in drawn)
    return bars(drawn, KINDS, "median, ms", alt)


def _said(p: OnProvider) -> str:
    assert p.speedup is not None
    return f"{p.speedup:.2f} times as fast on {p.provider}"


def _notes(found: Sequence[OnProvider]) -> list[str]:
    notes = [f"Not measured on {p.provider}: {p.reason}" for p in found if p.reason]
    for p in found:
        placed = None if p.after.row is None or p.after.latency is None else p.after.row.placement
        if placed is not None and placed.left_to_cpu:
            notes.append(
                f"{p.provider} leaves operators of the pruned model to the CPU: {', '.join(placed.left_to_cpu)}"
            )
    return notes


def _cells(timed: Timed) -> tuple[str, ...]:
    """Median, p90, fastest, spread and number of runs."""
    found: Latency | None = timed.latency
    if found is None:
        return (timed.said, "", "", "", "")
    times = (f"{ms:.3g}" for ms in (found.median_ms, found.p90_ms, found.min_ms))
    return (*times, f"±{found.spread:.0%}", f"{found.runs:,}")


def _sessions(timed: Timed, provider: str) -> tuple[str, ...]:
    """The time to create a session, its memory, and where the nodes run."""
    row = timed.row
    if row is None:
        return ("", "", "")
    created = "" if row.creation_ms is None else f"{row.creation_ms:.3g} ms"
    memory = "" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:,.1f} MB"
    placed = "" if row.placement is None else f"{row.placement.on(provider)} of {row.placement.all}"
    return (created, memory, placed)
