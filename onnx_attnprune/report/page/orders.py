"""Channel groups in the orders that a reader can choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx_attnprune.report.model import GroupRow


@dataclass(frozen=True, slots=True)
class Order:
    """The groups in one order. key: how the style sheet calls it."""

    key: str
    title: str
    rows: tuple[GroupRow, ...]


def orders(rows: Sequence[GroupRow]) -> tuple[Order, ...]:
    """Every order, the one to begin with first; groups that are alike stay in the order of the model."""
    return (
        Order("largest", "largest first", tuple(sorted(rows, key=lambda r: -r.size * r.members))),
        Order("cut", "most removed first", tuple(sorted(rows, key=lambda r: r.kept / r.size))),
        Order("model", "as in the model", tuple(rows)),
    )
