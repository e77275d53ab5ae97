"""Tasks in this process, in others and on a Dask cluster."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import pytest

from onnx_attnprune.errors import AttnPruneError, SettingsError
from onnx_attnprune.pipeline.workers import finished

TASKS = [1.0, 4.0, 9.0]


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


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
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
