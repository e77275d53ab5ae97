"""Where tasks run: here, in processes of this machine, or on a Dask cluster. All of them are executors of one kind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import TypeVar

from onnx_attnprune.errors import AttnPruneError, SettingsError

Task = TypeVar("Task")
Found = TypeVar("Found")


def finished(
    work: Callable[[Task], Found], tasks: Sequence[Task], jobs: int, scheduler: str | None = None
) -> Generator[Found, None, None]:
    """What `work` makes of each task, as it comes; work and tasks must be such as can be pickled. Processes end at once
    where this is closed, or an error or a signal ends it, whatever they are doing.

    jobs: processes of this machine (1: this one). scheduler: address of a Dask scheduler, whose workers do it instead.
    Raises SettingsError where the scheduler can't be had, AttnPruneError where a process is killed; an error of `work`
    ends the rest.
    """
    if scheduler is None and jobs == 1:
        yield from map(work, tasks)
        return
    with _processes(jobs) if scheduler is None else _cluster(scheduler) as executor:
        with _interrupts_held():
            futures = [executor.submit(work, task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()


@contextmanager
def _processes(jobs: int) -> Iterator[Executor]:
    # Started anew and not forked: ONNX Runtime's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(jobs, context, _obey, (theirs,))
    try:
        yield executor
        executor.shutdown()
    except BrokenProcessPool:
        raise AttnPruneError(
            "a process of --jobs was killed, for lack of memory as a rule: try again with fewer jobs"
        ) from None
    finally:
        ours.close()
        executor.shutdown(cancel_futures=True)
        theirs.close()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """An interrupt from the keyboard reaches no process that is started inside, however new; it reaches this one, once
    they are started."""
    if not hasattr(signal, "pthread_sigmask"):  # as on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _obey(lifeline: Connection) -> None:
    """A process that works for another one ends with it, whatever it is doing, and leaves interrupts from the keyboard,
    which reach both, to the other one. lifeline: ends where the other one closes its end of the pipe, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end() -> None:
        wait([lifeline])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


@contextmanager
def _cluster(scheduler: str) -> Iterator[Executor]:
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise SettingsError("--dask needs the package distributed: pip install 'onnx-attnprune[dask]'") from None
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise SettingsError(f"--dask {scheduler}: no scheduler answers there ({error})") from None
    with client:
        executor: Executor = client.get_executor(retries=1)
        try:
            yield executor
        except KilledWorker as error:
            raise AttnPruneError(
                f"--dask {scheduler}: a worker was killed, for lack of memory as a rule ({error})"
            ) from None
        finally:
            executor.shutdown(wait=False)
