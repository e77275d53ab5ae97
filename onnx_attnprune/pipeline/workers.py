"""Where tasks run: here, in processes of this machine, or on a Dask cluster. All of them are executors of one kind."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from onnx_attnprune.errors import AttnPruneError, SettingsError

Task = TypeVar("Task")
Found = TypeVar("Found")


def finished(
    work: Callable[[Task], Found], tasks: Sequence[Task], jobs: int, scheduler: str | None = None
) -> Iterator[Found]:
    """What `work` makes of each task, as it comes; work and tasks must be such as can be pickled.

    jobs: processes of this machine (1: this one). scheduler: address of a Dask scheduler, whose workers do it instead.
    Raises SettingsError where the scheduler can't be had, AttnPruneError where a process is killed; an error of `work`
    ends the rest.
    """
    if scheduler is None and jobs == 1:
        yield from map(work, tasks)
        return
    with _processes(jobs) if scheduler is None else _cluster(scheduler) as executor:
        for future in as_completed([executor.submit(work, task) for task in tasks]):
            yield future.result()


@contextmanager
def _processes(jobs: int) -> Iterator[Executor]:
    # Started anew and not forked: ONNX Runtime's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(jobs, context, signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        yield executor
    except BrokenProcessPool:
        raise AttnPruneError(
            "a process of --jobs was killed, for lack of memory as a rule: try again with fewer jobs"
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


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
