"""The progress display: late, on a terminal, and gone in the end."""

from __future__ import annotations

import io
import threading
import time

from rich.console import Console

from onnx_attnprune.report import Progress
from onnx_attnprune.report.progress import DELAY


def console(terminal: bool = True) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=60), out


def shown(out: io.StringIO, text: str) -> bool:
    """Whether a text appears within some seconds."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if text in out.getvalue():
            return True
        time.sleep(0.01)
    return False


def test_a_short_run_shows_nothing() -> None:
    screen, out = console()
    with Progress(screen) as progress:
        progress("reading")
    assert DELAY == 2.0
    assert out.getvalue() == ""


def test_a_long_run_shows_the_stage_at_work() -> None:
    screen, out = console()
    with Progress(screen, delay=0.01) as progress:
        progress("reading")
        assert shown(out, "reading")
        progress("cutting")
        assert shown(out, "cutting")
    assert out.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K") or "\x1b[?25h" in out.getvalue()  # the cursor is back


def test_nobody_looks() -> None:
    screen, out = console(terminal=False)
    with Progress(screen, delay=0.0) as progress:
        progress("reading")
        time.sleep(0.05)
    assert out.getvalue() == ""


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    screen, _ = console()
    with Progress(screen, delay=60):
        assert threading.active_count() == before + 1
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
