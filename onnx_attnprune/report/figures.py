"""Figures of two models on the same samples, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator

from onnx_attnprune.evaluate.classification import Classification
from onnx_attnprune.evaluate.metrics import Figures
from onnx_attnprune.evaluate.own import Own
from onnx_attnprune.evaluate.regression import Regression

Row = tuple[str, str, str, str]  # what it is, before, after, the change
_SHARES = (("top1", "top-1"), ("top5", "top-5"), ("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
_BEFORE_REPAIR = "  before repair"


def figure_rows(before: Figures, after: Figures, unrepaired: Figures | None = None) -> Iterator[Row]:
    """One row a figure, the main one first and below it what it was before the repair."""
    told = _all(before), _all(after)
    name, one, two = _main(before, after)
    yield f"{name} of {before.n:,} samples", one, two, change(before, after)
    if unrepaired is not None:
        yield _BEFORE_REPAIR, "", _main(before, unrepaired)[2], change(before, unrepaired)
    for key in told[0]:
        if key in told[1]:
            yield key, *_pair(before, told[0][key], told[1][key])


def change(before: Figures, after: Figures) -> str:
    """How the main figure changed."""
    difference = after.main - before.main
    return points(difference) if isinstance(before, Classification) else f"{difference:+.4g}"


def points(difference: float) -> str:
    """A difference of two shares."""
    return f"{difference * 100:+.2f} points"


def _main(before: Figures, after: Figures) -> tuple[str, str, str]:
    if isinstance(before, Classification):
        return before.measure, f"{before.main:.2%}", f"{after.main:.2%}"
    return before.measure, f"{before.main:.4g}", f"{after.main:.4g}"


def _all(figures: Figures) -> dict[str, float]:
    """The figures but the main one, by what people call them."""
    if isinstance(figures, Classification):
        shares = {label: getattr(figures, name) for name, label in _SHARES[1:]}
        return {label: share for label, share in shares.items() if share is not None}
    if isinstance(figures, Regression):
        return {"mean absolute error": figures.mae, "root mean squared error": figures.rmse}
    assert isinstance(figures, Own)
    return {name: value for name, value in figures.values.items() if name != figures.measure}


def _pair(kind: Figures, one: float, two: float) -> tuple[str, str, str]:
    if isinstance(kind, Classification):
        return f"{one:.2%}", f"{two:.2%}", points(two - one)
    return f"{one:.4g}", f"{two:.4g}", f"{two - one:+.4g}"
