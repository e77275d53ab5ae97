"""Templates of pages; the only door to Jinja2. Whatever comes from a model or a command line is escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent / "templates"


def render(name: str, **values: Any) -> str:
    """A template with its values, as text that any encoding of Unicode can hold.

    A file name may hold bytes that are no text, which Python keeps as halves of a pair of code units.
    """
    text = _environment().get_template(name).render(**values)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    found = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["drawn"] = Markup  # a drawing of ours, which holds no name of a model
    found.globals["style"] = Markup((FOLDER / "page.css").read_text(encoding="utf-8"))
    found.filters["count"] = "{:,}".format
    found.filters["share"] = "{:.1%}".format
    found.filters["setting"] = _setting
    found.filters["basename"] = lambda path: str(path).replace("\\", "/").rsplit("/", 1)[-1]
    return found


def _setting(value: Any) -> str:
    """A setting as a reader expects it: what holds several is a list, sizes are as users give them."""
    if value is None or value in ((), [], ""):
        return "not set"
    if isinstance(value, dict):
        return ", ".join(f"{k}={_setting(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        numbers = all(isinstance(v, int) for v in value)
        return "x".join(map(str, value)) if numbers else ", ".join(map(_setting, value))
    return str(value)
