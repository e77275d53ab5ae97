"""Tasks in this process, in others and on a Dask cluster."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from onnx_attnprune.errors import AttnPruneError, SettingsError
from onnx_attnprune.pipeline.workers import finished

TASKS = [1.0, 4.0, 9.0]
LONG = 300.0  # seconds of a task; no test waits for one
# A shell that starts the tests in the background has them ignore interrupts.
COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from onnx_attnprune.cli.failing import errors_told
from onnx_attnprune.pipeline.workers import finished
from tests.test_workers import LONG, busy
with errors_told(False):
    list(finished(busy, [LONG] * 3, 2))
"""


def busy(seconds: float) -> float:
    """Says that it has begun, and takes its time."""
    if seconds:
        os.write(1, b"busy\n")  # whole, where two do so at a time
    time.sleep(seconds)
    return seconds


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_task_is_done_once(jobs: int) -> None:
    assert sorted(finished(math.sqrt, TASKS, jobs)) == [1, 2, 3]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_the_work_is_the_error(jobs: int) -> None:
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        list(finished(math.sqrt, [1.0, -1.0], jobs))


def test_a_process_that_is_killed_is_told_of() -> None:
    with pytest.raises(AttnPruneError, match="killed, for lack of memory"):
        list(finished(os._exit, [3], 2))


# ---------------------------------------------------------------- cut short
def one(process: subprocess.Popen[str], number: int) -> None:
    process.send_signal(number)


def all_of_them(process: subprocess.Popen[str], number: int) -> None:
    """As a terminal does on Ctrl-C, and a batch system where time is over."""
    os.killpg(process.pid, number)


@pytest.mark.parametrize(
    ("number", "send", "code", "told"),
    [
        (signal.SIGINT, all_of_them, 130, "error: interrupted\n"),
        (signal.SIGTERM, one, 143, "error: ended by a signal (SIGTERM)\n"),
        (signal.SIGTERM, all_of_them, 143, "error: ended by a signal (SIGTERM)\n"),
        (signal.SIGKILL, one, -9, None),  # of which Python's own helper may complain
    ],
)
def test_a_signal_ends_all_processes_at_once(
    number: signal.Signals, send: Callable[[subprocess.Popen[str], int], None], code: int, told: str | None
) -> None:
    """They hold the ends of the pipes that are read here: where one lived on, reading would not come to an end."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip  # two lines
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["busy\n"] * 2
    send(process, number)
    try:
        printed, errors = process.communicate(timeout=LONG / 3)
    finally:
        process.kill()
    assert (process.returncode, printed) == (code, "")
    assert told in (None, errors)


def test_what_is_closed_early_ends_its_processes() -> None:
    with closing(finished(busy, [0.0, LONG, LONG], 2)) as found:
        assert next(found) == 0
        assert len(multiprocessing.active_children()) == 2
        start = time.monotonic()
    assert time.monotonic() - start < LONG / 3
    assert multiprocessing.active_children() == []


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


def test_a_cluster_does_the_same(scheduler: str) -> None:
    assert sorted(finished(math.sqrt, TASKS, 1, scheduler)) == [1, 2, 3]
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        list(finished(math.sqrt, [-1.0], 1, scheduler))


def test_where_no_scheduler_is() -> None:
    pytest.importorskip("distributed")
    for address in ("tcp://127.0.0.1:1", "nonsense://here"):
        with pytest.raises(SettingsError, match=f"--dask {address}: no scheduler answers"):
            list(finished(math.sqrt, TASKS, 1, address))
