"""One operator seen as another one: its operands under other places, transposed, or silent in a sense of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from onnx_attnprune.ops.registry import Tensor, View
from onnx_attnprune.ops.values import Values


class Recast(View):
    """A view whose operand k is operand `places[k]` of the node, so that the rule of another operator fits it.

    silent: instead of what is known of an operand, by the place seen. turned: the order of an operand's axes.
    """

    def __init__(
        self,
        view: View,
        places: Sequence[int],
        silent: Mapping[int, bool] | None = None,
        turned: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        super().__init__(view.node, view.opset, view._operands)
        self._view, self._places = view, tuple(places)
        self._silent, self._turned = silent or {}, turned or {}

    def has(self, place: int) -> bool:
        """True where the operand is there."""
        return place < len(self._places) and self._view.has(self._places[place])

    def tensor(self, place: int) -> Tensor:
        """An operand as it is seen."""
        found = self._view.tensor(self._places[place])
        order = self._turned.get(place)
        axes = found.axes if order is None or found.axes is None else tuple(found.axes[k] for k in order)
        return replace(found, axes=axes, silent=self._silent.get(place, found.silent))

    def value(self, place: int) -> Values | None:
        """The elements of an operand, where they are known."""
        return self._view.value(self._places[place]) if place < len(self._places) else None

    def constant(self, place: int) -> NDArray[Any] | None:
        """The stored values of an operand that is a constant of the file."""
        return self._view.constant(self._places[place]) if place < len(self._places) else None

    def is_filled_with_zeros(self, place: int) -> bool:
        """True where the operand is zeros that the graph makes from a shape."""
        return place < len(self._places) and self._view.is_filled_with_zeros(self._places[place])
