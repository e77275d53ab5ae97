"""Where the time of a repair goes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Parts = tuple[tuple[str, float], ...]  # what was done, and for how many seconds of the clock


class Spent:
    """Adds up the seconds of each part of a repair, in the order in which the parts were first begun."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Count what is done meanwhile."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] = self._seconds.get(part, 0.0) + time.perf_counter() - start

    def each(self, part: str, items: Iterable[Item]) -> Iterator[Item]:
        """Count what it takes to make the items, but not what is done with them."""
        found = iter(items)
        while True:
            with self.on(part):
                made = list(_first(found))
            if not made:
                return
            yield made[0]

    @property
    def parts(self) -> Parts:
        """All parts so far."""
        return tuple(self._seconds.items())


def _first(items: Iterator[Item]) -> Iterator[Item]:
    for item in items:
        yield item
        return
