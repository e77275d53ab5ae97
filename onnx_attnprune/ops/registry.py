"""The registry of operator rules, and what a rule is given and gives back.

A rule states, once and undirected, which axes of a node's operands and results are the same, which must be kept, and
which integers of the node restate a size. It never maps an index and never sees a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnx_attnprune.ops.effect import POSITION, Effect, Linear, Tensor
from onnx_attnprune.ops.view import Operands, View, broadcast, filler

__all__ = [
    "ENTRIES", "POSITION", "RULES", "Effect", "Entry", "Linear", "Operands", "Rule", "Tensor", "View", "broadcast",
    "entry", "filler", "rule",
]  # fmt: skip  # a list of names

Rule = Callable[[View], Effect]


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered rule: the operators it is for, and the family (file) it stands in."""

    rule: Rule
    family: str
    summary: str


RULES: dict[tuple[str, str], Entry] = {}
# For an operator with bodies: what their inputs are, from the node's operands.
ENTRIES: dict[str, Callable[[View], Sequence[Tensor]]] = {}


def rule(*names: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register a rule for operators. Raises ValueError for an operator that has one."""

    def register(fn: Rule) -> Rule:
        for name in names:
            if (domain, name) in RULES:
                raise ValueError(
                    f"{domain or 'ai.onnx'}.{name} has a rule already: {RULES[domain, name].rule.__name__}"
                )
            summary = (fn.__doc__ or "").strip().split("\n")[0]
            RULES[domain, name] = Entry(fn, fn.__module__.rsplit(".", 1)[-1], summary)
        return fn

    return register


def entry(name: str) -> Callable[[Callable[[View], Sequence[Tensor]]], Callable[[View], Sequence[Tensor]]]:
    """Register what the inputs of an operator's bodies are. Raises ValueError for one that has this."""

    def register(fn: Callable[[View], Sequence[Tensor]]) -> Callable[[View], Sequence[Tensor]]:
        if name in ENTRIES:
            raise ValueError(f"{name} is entered already by {ENTRIES[name].__name__}")
        ENTRIES[name] = fn
        return fn

    return register
