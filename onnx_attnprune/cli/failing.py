"""What every command does with an error: one line, and the exit code of its kind."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import click

from onnx_attnprune.errors import INTERNAL, INTERRUPTED, TERMINATED, AttnPruneError


@contextmanager
def errors_told(debug: bool) -> Iterator[None]:
    """Turn every error inside into one line and an exit code; with `debug` after a traceback."""
    if not debug:
        warnings.simplefilter("ignore")  # of numpy and others, which tell a user nothing
    try:
        with _terminable():
            yield
    except AttnPruneError as error:
        _fail(f"error: {error}", error.exit_code, debug)
    except MemoryError:
        _fail("error: out of memory", AttnPruneError.exit_code, debug)
    except KeyboardInterrupt:
        _fail("error: interrupted", INTERRUPTED, debug)
    except _Terminated:
        _fail("error: ended by a signal (SIGTERM)", TERMINATED, debug)
    except BrokenPipeError:
        raise  # whoever read the output has seen enough; click ends the command quietly
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        text = f"internal error: {type(error).__name__}: {reason}; please report it with what --debug prints"
        _fail(text, INTERNAL, debug)


class _Terminated(BaseException):
    """SIGTERM has come."""


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends what is inside as an interrupt does, so that nothing half-written is left behind.

    A second one is ignored, lest it end the clean-up. Signals are the main thread's: in another one all stays as it is.
    """

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # None: whatever it was, it was not set from Python


def _fail(text: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    click.echo(" ".join(text.splitlines()), err=True)
    sys.exit(code)
