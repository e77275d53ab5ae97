"""What every command does around its work: the progress while it runs, and the printing of what was found."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import UnsupportedOperation
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from onnx_attnprune.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console

Request = TypeVar("Request")
Found = TypeVar("Found")


def command_line() -> str:
    """The command as it was typed, for reports."""
    return shlex.join(["onnx-attnprune", *sys.argv[1:]])


def with_progress(work: Callable[[Request, Callable[[str], None]], Found], request: Request) -> Found:
    """What `work` makes of a request, while its stages are told on standard error."""
    from rich.console import Console

    from onnx_attnprune.report import Progress

    with Progress(Console(stderr=True)) as progress:
        return work(request, progress)


def show(found: Any, render: Callable[[Any, Console], None], as_json: bool) -> None:
    """Print what was found: as JSON, or for people by `render`. Raises OutputError."""
    from rich.console import Console

    from onnx_attnprune.report import to_json

    with printing():
        if as_json:
            click.echo(to_json(found), nl=False)
        else:
            render(found, Console(highlight=False))


@contextmanager
def printing() -> Iterator[None]:
    """Print, to the end. Raises OutputError where standard output takes no more."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _let_go(sys.stdout)
        raise OutputError(f"the report can't be printed: {error.strerror}") from None


def _let_go(stream: TextIO) -> None:
    """What could not be written must not be tried again when Python ends, which would change the exit code to 120."""
    with suppress(UnsupportedOperation):  # a stream without a file, as in tests
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
