"""What every command does with an error: one line, and the exit code of its kind."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import click

from onnx_attnprune.errors import INTERNAL, INTERRUPTED, AttnPruneError, OutputError


@contextmanager
def errors_told(debug: bool) -> Iterator[None]:
    """Turn every error inside into one line and an exit code; with `debug` after a traceback."""
    if not debug:
        warnings.simplefilter("ignore")  # of numpy and others, which tell a user nothing
    try:
        yield
    except AttnPruneError as error:
        _fail(f"error: {error}", error.exit_code, debug)
    except MemoryError:
        _fail("error: out of memory", AttnPruneError.exit_code, debug)
    except KeyboardInterrupt:
        _fail("error: interrupted", INTERRUPTED, debug)
    except BrokenPipeError:
        raise  # whoever read the output has seen enough; click ends the command quietly
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        text = f"internal error: {type(error).__name__}: {reason}; please report it with what --debug prints"
        _fail(text, INTERNAL, debug)


@contextmanager
def printing() -> Iterator[None]:
    """Print, to the end. Raises OutputError where standard output takes no more."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"the report can't be printed: {error.strerror}") from None


def _fail(text: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    click.echo(" ".join(text.splitlines()), err=True)
    sys.exit(code)
