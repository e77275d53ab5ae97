"""The classes of images: from the folders that they lie in, or from a file that says them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.data import Array


def labels_of(folder: Path, paths: Sequence[Path], stated: Path | None) -> Array:
    """The class of each image, counted from 0.

    Without a file: the place of its folder among all folders with images, sorted by name (as torchvision's ImageFolder
    counts). A file either lists the folders in the order of the model's classes, one name a line, or the images, each
    line a path below `folder`, white space or a comma, and the number of its class. Raises DataError.
    """
    if stated is None:
        return _by_folder(folder, paths, _sorted_folders(folder, paths))
    lines = _lines(stated)
    listed = {name: number for name, number in map(_split, lines) if number is not None}
    if len(listed) == len(lines) and any((folder / name).is_file() for name in listed):
        return _by_name(folder, paths, listed, stated)
    if len(set(lines)) < len(lines):
        raise DataError(f"{stated}: a folder is named twice")
    return _by_folder(folder, paths, lines, stated)


def _sorted_folders(folder: Path, paths: Sequence[Path]) -> list[str]:
    names = sorted({_class_folder(folder, path) for path in paths})
    if not names[0]:
        raise DataError(
            f"{folder}: {paths[0].name} lies in no sub-folder that says its class; state the classes of the images by "
            "--preprocess labels=FILE"
        )
    if all(name.isdecimal() for name in names) and names != sorted(names, key=int):
        raise DataError(
            f"{folder}: the sub-folders are numbers that sort otherwise as text ({', '.join(names[:3])}, …); state the "
            "order of the classes by --preprocess labels=FILE, one name a line"
        )
    return names


def _class_folder(folder: Path, path: Path) -> str:
    """The name of the sub-folder right below `folder` that an image lies in; "" for one that lies in none."""
    parts = path.relative_to(folder).parts
    return parts[0] if len(parts) > 1 else ""


def _by_folder(folder: Path, paths: Sequence[Path], classes: Sequence[str], stated: Path | None = None) -> Array:
    numbers = {name: k for k, name in enumerate(classes)}
    found = [numbers.get(_class_folder(folder, path), -1) for path in paths]
    if -1 in found:
        path = paths[found.index(-1)]
        where = _class_folder(folder, path) or "no sub-folder"
        raise DataError(f"{path}: lies in {where}, which {stated} does not name")
    return np.asarray(found, np.int64)


def _by_name(folder: Path, paths: Sequence[Path], listed: dict[str, int], stated: Path) -> Array:
    names = [path.relative_to(folder).as_posix() for path in paths]
    missing = [name for name in names if name not in listed]
    if missing:
        raise DataError(f"{stated}: says no class for {missing[0]} ({len(missing):,} of {len(names):,} images)")
    return np.asarray([listed[name] for name in names], np.int64)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from None
    except ValueError:
        raise DataError(f"{path}: not a text file") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path}: is empty")
    return lines


def _split(line: str) -> tuple[str, int | None]:
    """A line as a path and a number; None where it does not end in one."""
    name, _, number = line.replace(",", " ").rpartition(" ")
    return (name.strip(), int(number)) if name and number.isdecimal() else (line, None)
