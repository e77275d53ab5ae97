"""Models, plans and places as programs give them, brought to files."""

from __future__ import annotations

import inspect
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.evaluate.feeds import Shape
from onnx_attnprune.graph import ModelProto, write_bytes, write_model

PathLike = str | os.PathLike[str]
ModelSource = str | os.PathLike[str] | bytes | ModelProto


@contextmanager
def model_file(model: ModelSource) -> Iterator[Path]:
    """The path of a model; one in memory lies in a temporary file meanwhile. Raises SettingsError for anything else."""
    if isinstance(model, (str, os.PathLike)):
        yield Path(model)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        if isinstance(model, bytes):
            write_bytes(path, model)
        elif isinstance(model, ModelProto):
            write_model(model, path)
        else:
            raise SettingsError(f"a model is a path, bytes or a ModelProto, and no {type(model).__name__}")
        yield path


@contextmanager
def plan_file(plan: PathLike | Mapping[str, Any] | None) -> Iterator[Path | None]:
    """The path of a plan; one in memory lies in a temporary file meanwhile."""
    if plan is None or isinstance(plan, (str, os.PathLike)):
        yield path_or_none(plan)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "plan.json")
        path.write_text(json.dumps(plan), encoding="utf-8")
        yield path


def name_of(model: ModelSource) -> str:
    """What to call a model in reports."""
    return os.fspath(model) if isinstance(model, (str, os.PathLike)) else f"<{type(model).__name__}>"


def path_or_none(path: PathLike | None) -> Path | None:
    """A path of ours."""
    return None if path is None else Path(path)


def paths(given: PathLike | Sequence[PathLike]) -> tuple[Path, ...]:
    """One path, or several."""
    return (Path(given),) if isinstance(given, (str, os.PathLike)) else tuple(map(Path, given))


def shapes(given: Mapping[str, Sequence[int]] | None) -> dict[str, Shape]:
    """Input sizes by name. Raises SettingsError for sizes that are no numbers."""
    try:
        return {name: tuple(int(size) for size in sizes) for name, sizes in (given or {}).items()}
    except (TypeError, ValueError):
        raise SettingsError(f"shape {given!r} is no dict of input name to sizes") from None


def told(function: str, positional: Sequence[ModelSource], given: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    """A call as the text that a report holds: what differs from the usual, long things left out."""
    words = [repr(os.fspath(m)) if isinstance(m, (str, os.PathLike)) else name_of(m) for m in positional]
    for name, value in given.items():
        if name in usual and value != usual[name]:
            short = isinstance(value, (str, int, float, os.PathLike, tuple))
            text = repr(os.fspath(value) if isinstance(value, os.PathLike) else value) if short else "..."
            words.append(f"{name}={text}")
    return f"onnx_attnprune.{function}({', '.join(words)})"


def usual_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The keywords of a function, with what they are where nobody gives them."""
    found = inspect.signature(function).parameters.items()
    return {name: p.default for name, p in found if p.kind is p.KEYWORD_ONLY and name != "tell"}
