"""The files of a run: checked before any work is done, and put in place together or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from onnx_attnprune.errors import OutputError, SettingsError
from onnx_attnprune.graph import ModelProto, check_writable, write_bytes, write_model


def check_outputs(outputs: Sequence[Path], inputs: Iterable[Path]) -> None:
    """Refuse, before any work is done, outputs that can't be written or that are inputs, or one another.

    Raises SettingsError for paths that make no sense, OutputError for what the file system does not allow.
    """
    inputs = tuple(inputs)
    for path in outputs:
        try:
            if any(_same(path, other) for other in inputs):
                raise SettingsError(f"{path}: the output would overwrite an input")
            if path.exists() and not path.is_file():
                raise OutputError(f"{path}: is {'a folder' if path.is_dir() else 'not a regular file'}")
            check_writable(path.resolve())
        except (OSError, RuntimeError) as error:  # a name that is too long, links that go round in a circle
            why = error.strerror if isinstance(error, OSError) else "its links go round in a circle"
            raise OutputError(f"{path}: can't be written: {why}") from None
    for k, path in enumerate(outputs):
        if any(_same(path, other) for other in outputs[:k]):
            raise SettingsError(f"{path}: two outputs have the same path")


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))


class Outputs:
    """Files that are written beside their places first, and moved there together at the end.

    A context manager: what was not committed when it ends is gone, with all temporary files. Links are followed.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}  # destination -> the temporary folder beside it

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for folder in self._folders.values():
            shutil.rmtree(folder, ignore_errors=True)

    def folder(self, path: Path) -> Path:
        """The temporary folder beside a destination. Raises OutputError."""
        path = path.resolve()
        if path not in self._folders:
            try:
                self._folders[path] = Path(tempfile.mkdtemp(prefix=f".{path.name[:80]}.", dir=path.parent))
            except OSError as error:
                raise OutputError(f"{path}: can't be written: {error.strerror}") from None
        return self._folders[path]

    def put_model(self, model: ModelProto, path: Path) -> tuple[Path, int]:
        """Write a model for `path`; where it lies until then, and how many bytes it takes. Raises OutputError."""
        staged = self.folder(path) / path.resolve().name
        with _told_as(path, staged):
            return staged, write_model(model, staged)

    def put_text(self, text: str, path: Path) -> None:
        """Write a text file for `path`. Raises OutputError."""
        staged = self.folder(path) / path.resolve().name
        with _told_as(path, staged):
            write_bytes(staged, text.encode())

    def commit(self) -> None:
        """Move every file to its place; where one can't be, those that were moved before it are moved back."""
        moved: list[_Moved] = []
        try:
            for path, folder in self._folders.items():
                for staged in sorted(p for p in folder.iterdir() if p.is_file()):
                    moved.append(_move(staged, path.with_name(staged.name), folder))
        except BaseException as error:  # an interrupt too
            for one in reversed(moved):
                one.undo()
            if isinstance(error, OSError):
                raise OutputError(f"{path}: can't be written: {error.strerror}") from None
            raise


def write_text(text: str, path: Path) -> None:
    """Put a text file in place whole or not at all; links are followed. Raises OutputError."""
    with Outputs() as outputs:
        outputs.put_text(text, path)
        outputs.commit()


@dataclass(frozen=True, slots=True)
class _Moved:
    """A file that was put in place. before: a second link to what was there; None where nothing was or can be."""

    target: Path
    existed: bool
    before: Path | None

    def undo(self) -> None:
        if self.before is not None:
            os.replace(self.before, self.target)
        elif not self.existed:
            self.target.unlink(missing_ok=True)


def _move(staged: Path, target: Path, folder: Path) -> _Moved:
    existed, before = target.exists(), None
    if existed:
        with suppress(OSError):  # a file system without hard links: then there is no way back
            kept = Path(tempfile.mkdtemp(dir=folder), target.name)
            os.link(target, kept)
            before = kept
    os.replace(staged, target)
    return _Moved(target, existed, before)


@contextmanager
def _told_as(path: Path, staged: Path) -> Iterator[None]:
    """Errors speak of the place that the user named."""
    try:
        yield
    except OutputError as error:
        raise OutputError(str(error).replace(str(staged), str(path))) from None
