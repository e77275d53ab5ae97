"""The types of options: what a user writes, and what the program gets."""

from __future__ import annotations

from typing import Any

import click


class Number(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on only
    """A number; nan and infinity are refused by the settings, with their reason."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is no number", param, ctx)


class Pair(click.ParamType):  # type: ignore[type-arg]  # as above
    """PATTERN=R."""

    name = "PATTERN=R"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        pattern, _, ratio = str(value).rpartition("=")
        try:
            number = float(ratio)
        except ValueError:
            number = None
        if not pattern or number is None:
            self.fail(f"{value!r} is not of the form PATTERN=R", param, ctx)
        return pattern, number


class Sizes(click.ParamType):  # type: ignore[type-arg]  # as above
    """NAME=1x3x224x224."""

    name = "NAME=AxBxC"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        if isinstance(value, tuple):
            return value
        name, _, sizes = str(value).rpartition("=")
        if not name or not all(s.isdecimal() for s in sizes.split("x")):
            self.fail(f"{value!r} is not of the form NAME=1x3x224x224", param, ctx)
        return name, tuple(int(s) for s in sizes.split("x"))


class Multiple(click.ParamType):  # type: ignore[type-arg]  # as above
    """A positive integer, or auto (None)."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or value == "auto":
            return None
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither a positive number nor auto", param, ctx)
        return int(value)


class Positive(click.ParamType):  # type: ignore[type-arg]  # as above
    """A positive integer."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is no positive number", param, ctx)
        return int(value)


class Listed(click.ParamType):  # type: ignore[type-arg]  # as above
    """Values of one type with commas between them."""

    def __init__(self, kind: click.ParamType) -> None:  # type: ignore[type-arg]  # as above
        self.kind, self.name = kind, f"{kind.name}[,...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(self.kind.convert(part, param, ctx) for part in str(value).split(","))
