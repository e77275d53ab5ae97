"""Samples from whatever a user names: an .npz file, a folder of images, a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnx_attnprune.errors import DataError, SettingsError
from onnx_attnprune.evaluate.callables import function_of, is_function_name, name_of
from onnx_attnprune.evaluate.data import LABELS, Array, Dataset, gathered
from onnx_attnprune.evaluate.feeds import InputSpec
from onnx_attnprune.evaluate.given import array_of, kind_of
from onnx_attnprune.evaluate.images import load_images
from onnx_attnprune.evaluate.npz import load_npz
from onnx_attnprune.evaluate.preprocess import parse
from onnx_attnprune.evaluate.yielded import load_yielded

# A path of an .npz file or a folder, `module:function`, a function, or arrays by input name ("labels" among them).
DataSource = str | Path | Callable[[], Any] | Mapping[str, Array]
MOST_CALIBRATION = 1024  # samples that are asked of a function for calibration, which may never end


def load(source: DataSource, specs: Sequence[InputSpec], preprocess: str, *, labelled: bool) -> Dataset:
    """The samples of `source` for a model with the inputs `specs`.

    preprocess: of images, as `preprocess.parse` takes it. labelled: they are for evaluation, and have to have labels.
    Raises DataError for what does not fit the model, SettingsError for what makes no sense.
    """
    if source == "" or not (isinstance(source, (str, Path, Mapping)) or callable(source)):
        what = "an empty name" if source == "" else kind_of(source)
        raise SettingsError(f"samples are a path, module:function, a function or arrays by input name, not {what}")
    path = path_of(source)
    if path is not None and path.is_dir():
        found = load_images(path, parse(preprocess), specs, labelled=labelled)
    elif path is not None:
        found = load_npz(path, specs)
    elif isinstance(source, Mapping):
        single = {s.name for s in specs if s.shape == ()}
        arrays = {
            name: a if isinstance(a, np.ndarray) else array_of(a, f"{told(source)}: array {name}", name in single)
            for name, a in source.items()
        }
        labels = None if LABELS in {s.name for s in specs} else arrays.pop(LABELS, None)
        found = gathered(arrays, labels, specs, told(source))
    else:
        function = source if callable(source) else function_of(str(source))
        found = load_yielded(
            function, specs, labelled=labelled, most=None if labelled else MOST_CALIBRATION, name=told(source)
        )
    if labelled and found.labels is None:
        raise DataError(f"{told(source)}: has no array 'labels' to compare with")
    return found


def check_preprocess(preprocess: str, sources: Sequence[DataSource | None]) -> None:
    """Raise SettingsError for a preprocessing that is malformed, or where no source is a folder of images."""
    parse(preprocess)
    if preprocess and not any(path is not None and path.is_dir() for path in map(path_of, sources)):
        raise SettingsError("--preprocess is for a folder of images, and no samples come from one")


def path_of(source: DataSource | None) -> Path | None:
    """The path that a source is; None for a function or arrays, and where there is no source.

    A text of the form `module:function` is a path where something lies there.
    """
    if isinstance(source, Path):
        return source
    if isinstance(source, str) and (Path(source).exists() or not is_function_name(source)):
        return Path(source)
    return None


def told(source: DataSource | None) -> str:
    """What to call a source in messages."""
    if isinstance(source, (str, Path)):
        return str(source)
    return "the given arrays" if isinstance(source, Mapping) or source is None else name_of(source)
