"""The stage at work, on a terminal, for runs that take long."""

from __future__ import annotations

import threading
from types import TracebackType

from rich.console import Console
from rich.status import Status

DELAY = 2.0  # seconds; a run that is over sooner shows nothing


class Progress:
    """Shows the latest stage that it was called with once a run takes longer than `delay`, and nothing before.

    A context manager; the display is gone when it ends. Where the console is no terminal nothing is ever shown.
    """

    def __init__(self, console: Console, delay: float = DELAY) -> None:
        self._console = console
        self._status: Status | None = None
        self._stage = "starting"
        self._lock = threading.Lock()
        self._timer = threading.Timer(delay, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._timer.start()
        return self

    def __call__(self, stage: str) -> None:
        """Name the stage that begins."""
        with self._lock:
            self._stage = stage
            if self._status is not None:
                self._status.update(stage)

    def _show(self) -> None:
        with self._lock:
            if not self._timer.finished.is_set():  # else the run ended while the timer went off
                self._status = self._console.status(self._stage, refresh_per_second=4)  # little work beside the run
                self._status.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            if self._status is not None:
                self._status.stop()
