"""Figures of two models on the same samples, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onnx_attnprune.evaluate.classification import Classification
from onnx_attnprune.evaluate.metrics import Figures
from onnx_attnprune.evaluate.own import Own
from onnx_attnprune.evaluate.regression import Regression

Row = tuple[str, str, str, str]  # what it is, before, after, the change
_SHARES = (("top1", "top-1"), ("top5", "top-5"), ("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
_ERRORS = (("mae", "mean absolute error"), ("rmse", "root mean squared error"))


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure before and after, and how it changed. better: whether for the better (None: it did not change).

    part: it explains the figure above it.
    """

    name: str
    before: str
    after: str
    change: str
    better: bool | None
    part: bool = False


def figure_rows(before: Figures, after: Figures, unrepaired: Figures | None = None) -> Iterator[Row]:
    """One row a figure, the main one first and below it what it was before the repair."""
    for found in accuracy_figures(before, after, unrepaired):
        yield "  " * found.part + found.name, found.before, found.after, found.change


def accuracy_figures(before: Figures, after: Figures, unrepaired: Figures | None = None) -> Iterator[Figure]:
    """The figures, the main one first and below it what it was before the repair."""
    yield _figure(before, f"{before.measure} of {before.n:,} samples", before.main, after.main)
    if unrepaired is not None:
        found = _figure(before, "before repair", before.main, unrepaired.main)
        yield Figure(found.name, "", found.after, found.change, found.better, part=True)
    one, two = _all(before), _all(after)
    for name in one:
        if name in two:
            errors = isinstance(before, Regression)
            yield _figure(before, name, one[name], two[name], higher_is_better=not errors)


def points(difference: float) -> str:
    """A difference of two shares."""
    return f"{difference * 100:+.2f} points"


def _figure(kind: Figures, name: str, one: float, two: float, *, higher_is_better: bool = True) -> Figure:
    shares = isinstance(kind, Classification)
    texts = (f"{one:.2%}", f"{two:.2%}") if shares else (f"{one:.4g}", f"{two:.4g}")
    better = None if texts[0] == texts[1] else (two > one) == higher_is_better
    return Figure(name, *texts, points(two - one) if shares else f"{two - one:+.4g}", better)


def _all(figures: Figures) -> dict[str, float]:
    """The figures but the main one, by what people call them."""
    if isinstance(figures, Classification):
        shares = {label: getattr(figures, name) for name, label in _SHARES[1:]}
        return {label: share for label, share in shares.items() if share is not None}
    if isinstance(figures, Regression):
        return {label: getattr(figures, name) for name, label in _ERRORS}
    assert isinstance(figures, Own)
    return {name: value for name, value in figures.values.items() if name != figures.measure}
