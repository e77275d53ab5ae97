"""What a repair has to do: the consumers that can be refitted, and why the others can't."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.consumers import (
    Consumer,
    consumers_of,
    followers_of,
    main_names,
    mixers_of,
    others_of,
    returns_of,
)
from onnx_attnprune.recovery.forms import Array, Form
from onnx_attnprune.recovery.means import Constants
from onnx_attnprune.recovery.rows import View, view_of
from onnx_attnprune.recovery.stored import multiplier, why_not_stored, zero_of_data


@dataclass(frozen=True, slots=True)
class Job:
    """A consumer that can be refitted, how it reads, and which columns of its rows survive, [groups, columns].

    read: gives the weight of the unpruned model; a network's weights in double precision are not held all at once.
    """

    consumer: Consumer
    view: View
    kept: BoolArray
    read: Callable[[], Array] = field(repr=False, compare=False)

    @property
    def weight(self) -> Array:
        """The weight of the unpruned model as [groups, columns, outputs of a group]."""
        return self.consumer.form.matrix(self.read())


Views = frozenset[View]  # that rows are taken from together


def views_of(jobs: Iterable[Job]) -> Views:
    """All that some jobs read."""
    return frozenset(job.view for job in jobs)


def jobs_of(analysis: Analysis, alive: Mapping[int, BoolArray]) -> tuple[list[Job], list[str]]:
    """The consumers that can be refitted, and a note for each node that can't."""
    jobs, notes = [], []
    consumers = [*consumers_of(analysis, alive), *returns_of(analysis, alive)]
    for consumer, found in _tried(analysis, sorted(consumers, key=lambda c: c.node.index)):
        if isinstance(found, Job):
            jobs.append(found)
        else:
            notes.append(f"{consumer.node.name}: not refitted ({found})")
    notes.extend(others_of(analysis, alive))
    return jobs, notes


def following_jobs(analysis: Analysis, alive: Mapping[int, BoolArray]) -> list[Job]:
    """The nodes that lose no channels but see what others have lost, as far as they can be refitted."""
    tried = _tried(analysis, followers_of(analysis, alive))
    return [job for _, job in tried if isinstance(job, Job)]


def mixing_jobs(analysis: Analysis, alive: Mapping[int, BoolArray]) -> list[Job]:
    """All nodes that could be refitted, whether or not they see what was lost."""
    return [job for _, job in _tried(analysis, mixers_of(analysis, alive)) if isinstance(job, Job)]


def _tried(analysis: Analysis, consumers: Iterable[Consumer]) -> Iterator[tuple[Consumer, Job | str]]:
    constants, main = Constants(analysis), main_names(analysis)
    for consumer in consumers:
        yield consumer, _job(consumer, constants, analysis, main)


def _job(consumer: Consumer, constants: Constants, analysis: Analysis, main: frozenset[str]) -> Job | str:
    """The job, or the reason why there is none."""
    if consumer.source not in main or consumer.node.outputs[0] not in main | {""}:
        return "in a loop, or in a branch that not all samples take"
    weight = multiplier(constants, consumer)
    if weight is None:
        return "computed weight"
    why = why_not_stored(analysis, consumer) or _why_not_back(consumer)
    if why:
        return why
    view = view_of(consumer, weight)
    if view is None:
        return "its patches"
    view = replace(view, zero=zero_of_data(analysis, consumer))
    return Job(consumer, view, kept_columns(consumer, view), lambda: _read(constants, consumer))


def _why_not_back(consumer: Consumer) -> str:
    gated = consumer.returns and consumer.node.op == "GRU" and not consumer.node.attr("linear_before_reset", 0)
    return "its state passes a gate before the weight" if gated else ""


def _read(constants: Constants, consumer: Consumer) -> Array:
    found = multiplier(constants, consumer)
    assert found is not None  # it was there when the job was made
    return found


def kept_columns(consumer: Consumer, view: View) -> BoolArray:
    """Which columns survive, [groups, columns]."""
    return np.repeat(~consumer.removed, view.taps).reshape(view.groups, view.columns)


def by_weight(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs that share a weight, read it in one layout and lose the same of it, as the steps of an unrolled network do,
    are fitted as one."""
    found: dict[tuple[str, Form, bytes, bytes], list[Job]] = {}
    for job in jobs:
        c = job.consumer
        key = (c.node.inputs[c.linear.weight], c.form, c.removed.tobytes(), c.outputs.tobytes())
        found.setdefault(key, []).append(job)
    yield from found.values()
