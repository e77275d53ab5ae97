"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onnx_attnprune.errors import OutputError


def check_folder(target: Path, ours: Callable[[Path], bool]) -> None:
    """Refuse, before any work is done, a folder that can't be made, or that holds what is not `ours`.

    Raises OutputError.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputError(f"{target}: is there, and no folder")
    if not target.parent.is_dir():
        raise OutputError(f"{target}: can't be written: {target.parent} is no folder")
    try:
        holds = target.exists() and any(target.iterdir())
    except OSError as error:
        raise OutputError(f"{target}: can't be read: {error.strerror}") from None
    if holds and not ours(target):
        raise OutputError(f"{target}: holds other files; name a folder that is new or empty, or an earlier bundle")


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside the target, which takes its place at the end; an error leaves what was there.

    Raises OutputError for what the file system does not allow.
    """
    target = target.resolve()
    try:
        staged = Path(tempfile.mkdtemp(prefix=f".{target.name[:80]}.", dir=target.parent))
    except OSError as error:
        raise OutputError(f"{target}: can't be written: {error.strerror}") from None
    inner = staged / "new"
    try:
        inner.mkdir()
        yield inner
        _swap(inner, target, staged / "old")
    except OutputError as error:  # which speaks of the temporary folder
        raise OutputError(str(error).replace(str(inner), str(target))) from None
    except OSError as error:
        raise OutputError(f"{target}: can't be written: {error.strerror}") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _swap(new: Path, target: Path, old: Path) -> None:
    """Put a folder in the place of another one, which is put back where that fails."""
    existed = target.exists()
    if existed:
        os.replace(target, old)
    try:
        os.replace(new, target)
    except BaseException:
        if existed:
            os.replace(old, target)
        raise
