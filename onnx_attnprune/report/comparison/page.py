"""The page of a comparison."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_attnprune import __version__
from onnx_attnprune.report.comparison.model import Comparison, Front
from onnx_attnprune.report.comparison.terminal import name_of, share
from onnx_attnprune.report.page.chart import Chart, Scatter, scatter
from onnx_attnprune.report.page.chart import Point as Mark
from onnx_attnprune.report.page.template import render

KINDS = {"best": "var(--good)", "beaten": "var(--gone)", "original": "var(--kept)"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A front with its chart."""

    front: Front
    chart: Chart


def page(found: Comparison) -> str:
    """An HTML document that needs nothing else: all runs, and those that no other beats."""
    return render(
        "comparison.html",
        found=found,
        drawn=[Drawn(front, _chart(found, front)) for front in found.fronts],
        share=share,
        version=__version__,
    )


def _chart(found: Comparison, front: Front) -> Chart:
    points = [Mark(p.cost, p.quality, _kind(front, p.run), str(p.run) if p.run else "original") for p in front.points]
    best = ", ".join(
        f"{name_of(p.run)} ({p.cost:.1%} of the {front.cost}, {found.quality_text(p.quality)})" for p in front.best
    )
    given = Scatter(
        f"{front.cost} left", "top-1" if found.shares else "quality", points, KINDS,
        y_format="%" if found.shares else ".3~f", line=[(p.cost, p.quality) for p in front.best],
    )  # fmt: skip  # two lines
    return scatter(given, f"Quality against {front.cost} for {len(points)} models. No other beats {best}.")


def _kind(front: Front, run: int) -> str:
    return "original" if run == 0 else "best" if front.has(run) else "beaten"
