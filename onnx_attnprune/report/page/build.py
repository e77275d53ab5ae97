"""The page of one run."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_attnprune import __version__
from onnx_attnprune.report.advice import would_hold
from onnx_attnprune.report.figures import Figure, accuracy_figures
from onnx_attnprune.report.latencies import latencies
from onnx_attnprune.report.model import GroupRow, Report, Search, Timing
from onnx_attnprune.report.page.chart import Chart, Point, Scatter, histogram, scatter
from onnx_attnprune.report.page.latency import section
from onnx_attnprune.report.page.orders import Order, orders
from onnx_attnprune.report.page.template import render
from onnx_attnprune.report.results import results, stage_seconds, timed_verdict, verdict
from onnx_attnprune.report.usability import VERDICTS

MOST_HISTOGRAMS = 60  # of the largest groups; the table has the cut of all
MADE_OF_TRIALS = {"taken": "var(--good)", "": "var(--kept)", "too much": "var(--gone)", "not sure": "var(--gone)",
                  "too slow": "var(--gone)"}  # fmt: skip  # colours of what a search makes of a trial


@dataclass(frozen=True, slots=True)
class Scored:
    """A group with the chart of its scores."""

    row: GroupRow
    chart: Chart


def page(report: Report) -> str:
    """An HTML document that needs nothing else: every figure of the report.

    `require` says whether this installation can make one.
    """
    every = orders(report.groups)
    return render(
        "report.html",
        report=report,
        version=__version__,
        stages=stage_seconds(report),
        figures=list(results(report)),
        cards=_cards(report),
        orders=every,
        scored=_scored(every[0]),
        unscored=sum(row.scores is None for row in report.groups),
        search=None if report.search is None else _search(report.search),
        would_hold="" if report.holding is None else would_hold(report.holding),
        timing=None if report.timing is None else _timing(report.timing),
        latency=section(latencies(report)),
        suits=VERDICTS,
    )


def _cards(report: Report) -> list[Figure]:
    """What a reader looks for first: the costs that went down, the time, and what was lost."""
    costs = ("MACs", "parameters", "bytes", "latency")
    found = [f for f in results(report) if f.change and f.name.startswith(costs)]
    if report.accuracy is not None:
        return [*found, next(accuracy_figures(report.accuracy.before, report.accuracy.after))]
    if report.drift is not None and report.drift.outputs:
        worst = min(d.cosine for d in report.drift.outputs)
        found.append(Figure("likeness of the outputs (cosine)", "1", f"{worst:.4f}", "", None))
    return found


def _scored(order: Order) -> list[Scored]:
    """Charts of the groups that lose channels, and have scores, in their order."""
    found = [row for row in order.rows if row.scores is not None and row.kept < row.size]
    return [Scored(row, _histogram(row)) for row in found[:MOST_HISTOGRAMS]]


def _histogram(row: GroupRow) -> Chart:
    scores = row.scores
    assert scores is not None
    alt = f"Scores from 0 to 1: {row.kept:,} channels stay, {row.size - row.kept:,} go"
    if scores.cut is not None:
        alt += f"; those below {scores.cut:.3f} go"
    if scores.earlier:
        alt += f"; {scores.earlier:,} went in an earlier stage and have no score"
    return histogram(scores.kept, scores.removed, scores.cut, alt)


@dataclass(frozen=True, slots=True)
class Searched:
    """A search as a chart, and what is said of each trial, in their order."""

    chart: Chart
    said: tuple[str, ...]


def _search(search: Search) -> Searched:
    said = tuple(verdict(search, k) for k in range(len(search.trials)))
    points = [Point(t.macs, t.drop, s, str(k + 1)) for k, (t, s) in enumerate(zip(search.trials, said, strict=True))]
    taken = search.trials[search.chosen]
    alt = (
        f"Drop of {search.measure} against the share of MACs that is left, for {len(points)} choices; the line is the "
        f"limit of {search.limit:.2%}. Choice {search.chosen + 1} is taken: {taken.macs:.1%} of the MACs, a drop of "
        f"{taken.drop:+.2%}."
    )
    return Searched(scatter(Scatter("MACs left", "drop", points, MADE_OF_TRIALS, level=search.limit), alt), said)


def _timing(timing: Timing) -> Searched:
    said = tuple(timed_verdict(timing, k) for k in range(len(timing.trials)))
    points = [Point(t.macs, t.latency, s, str(k + 1)) for k, (t, s) in enumerate(zip(timing.trials, said, strict=True))]
    taken = timing.trials[timing.chosen]
    alt = (
        f"Share of the latency that is left on {timing.provider} against the share of MACs, for {len(points)} choices; "
        f"the line is the limit of {timing.limit:.1%}. Choice {timing.chosen + 1} is taken: {taken.macs:.1%} of the "
        f"MACs, {taken.latency:.1%} of the latency."
    )
    return Searched(
        scatter(Scatter("MACs left", "latency left", points, MADE_OF_TRIALS, level=timing.limit), alt), said
    )
