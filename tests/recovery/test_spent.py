"""The time of a repair, by its parts."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from onnx_attnprune.recovery.spent import Spent


def slow(count: int) -> Iterator[int]:
    for k in range(count):
        time.sleep(0.02)
        yield k


def test_making_items_is_counted_and_using_them_is_not() -> None:
    spent = Spent()
    for k in spent.each("make", slow(2)):
        with spent.on("use"):
            time.sleep(0.001 * k)
    (first, making), (second, using) = spent.parts
    assert (first, second) == ("make", "use")
    assert making >= 0.04
    assert using < making


def test_what_fails_is_counted_too() -> None:
    spent = Spent()
    with pytest.raises(ValueError, match="no"), spent.on("try"):
        raise ValueError("no")
    assert [part for part, _ in spent.parts] == ["try"]
