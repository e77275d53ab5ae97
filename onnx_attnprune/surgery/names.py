"""Names of nodes."""

from __future__ import annotations

from collections.abc import Iterable


def first_output(names: Iterable[str]) -> str:
    """The output that names a node: the first one that is not left out; "" for a node without any."""
    for name in names:  # asked for every node, several times: a generator costs twice as much
        if name:
            return name
    return ""
