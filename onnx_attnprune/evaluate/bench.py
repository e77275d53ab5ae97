"""Models on providers, measured in turns: what each takes, and how many times as fast as the first model it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from onnx_attnprune.errors import ModelError, ProviderError, SettingsError
from onnx_attnprune.evaluate.feeds import InputSpec, Shape, concrete_shapes, free_batches, random_feeds, with_batch
from onnx_attnprune.evaluate.latency import Latency, Run, SpeedUp, in_turns
from onnx_attnprune.evaluate.probe import Probe, probe
from onnx_attnprune.runtime import Placement, Session

Feeds = dict[str, NDArray[Any]]
Outcome = Literal["measured", "fell back", "failed", "wrong"]
MOST_ROUNDS = 10_000
WARMUP = 5


@dataclass(frozen=True, slots=True)
class Model:
    """A model file as the measurement needs it. `limits`: see `random_feeds`."""

    path: Path
    specs: tuple[InputSpec, ...]
    limits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Case:
    """What one session is fed. batch: None where the model fixes it. sizes: of its free sizes that have a name."""

    model: Model
    batch: int | None
    shapes: Mapping[str, Shape]
    sizes: Mapping[str, int]

    @property
    def feeds(self) -> Feeds:
        """Random inputs; equal ones for models that take the same."""
        return random_feeds(self.model.specs, self.shapes, 0, self.model.limits)


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one provider at one batch size.

    outcome: "fell back" where the provider took no node at all, so that the CPU would have been timed; "failed" where
    it could not be loaded or run; "wrong" where its outputs are not those expected of it; `reason` says why.
    per_second: samples where the batch is known, else runs.
    speed_up: against the first model on the same provider at the same batch size (None for itself, and without it).
    """

    model: str
    provider: str
    batch: int | None
    shapes: Mapping[str, Shape]
    outcome: Outcome
    reason: str = ""
    creation_ms: float | None = None
    peak_bytes: int | None = None
    placement: Placement | None = None
    latency: Latency | None = None
    per_second: float | None = None
    speed_up: SpeedUp | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """How sessions run. seconds: for how long each; threads: 0 for ONNX Runtime's choice."""

    threads: int
    seconds: float


def cases_of(model: Model, asked: Mapping[str, Shape], batches: Sequence[int]) -> list[Case]:
    """One case a batch size; with none given, one of a single sample where the batch is free.

    Raises SettingsError for shapes that the model does not take, and for a batch size where it is not free.
    """
    shapes = concrete_shapes(model.specs, asked)
    free = free_batches(model.specs, asked)
    if batches and not free:
        why = "the batch is not free, or --shape has fixed it"
        raise SettingsError(f"--batch {','.join(map(str, batches))}: {model.path}: {why}")
    if not free:
        return [_case(model, None, shapes)]
    return [_case(model, batch, with_batch(model.specs, shapes, free, batch)) for batch in batches or (1,)]


def _case(model: Model, batch: int | None, shapes: Mapping[str, Shape]) -> Case:
    sizes = {
        stated: size
        for spec in model.specs
        for stated, size in zip(spec.shape or (), shapes[spec.name], strict=False)
        if isinstance(stated, str)
    }
    return Case(model, batch, dict(shapes), sizes)


def measure_all(
    groups: Sequence[Sequence[Case]],
    providers: Sequence[str],
    setup: Setup,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """A row for each case on each provider; the cases of a group, on all providers, are measured in turns.

    The first case of a group is what its others are compared with.
    """
    return [row for cases in groups for row in _measured(cases, providers, setup, tell)]


def _measured(
    cases: Sequence[Case], providers: Sequence[str], setup: Setup, tell: Callable[[str], None]
) -> Iterator[Row]:
    rows: list[Row] = []
    runs: dict[int, Run] = {}  # by the place of the row
    for provider in providers:
        for case in cases:
            tell(f"load {case.model.path.name} on {provider}")
            row = _probed(case, provider, setup)
            if row.outcome == "measured":
                runs[len(rows)] = _prepared(case, provider, setup)
            rows.append(row)
    tell("measure in turns")
    seconds: Mapping[int, Sequence[float]] = {}
    if runs:
        timed = in_turns(list(runs.values()), min_seconds=setup.seconds, max_runs=MOST_ROUNDS, warmup=WARMUP)
        seconds = dict(zip(runs, timed, strict=True))
    for k, row in enumerate(rows):
        first = k - k % len(cases)
        yield _timed(row, seconds[k], seconds.get(first) if k != first else None) if k in seconds else row


def _probed(case: Case, provider: str, setup: Setup) -> Row:
    """What a process of its own tells; a row that is still without times where it ran."""
    row = Row(str(case.model.path), provider, case.batch, case.shapes, "measured")
    try:
        found: Probe = probe(case.model.path, provider, setup.threads, case.sizes, case.feeds)
    except (ModelError, ProviderError) as error:
        return replace(row, outcome="failed", reason=str(error))
    row = replace(row, creation_ms=found.creation_ms, peak_bytes=found.peak_bytes, placement=found.placement)
    if not found.placement.on(provider):
        where = ", ".join(found.placement.nodes)
        return replace(row, outcome="fell back", reason=f"{provider} took none of the nodes; they run on {where}")
    return row


def _prepared(case: Case, provider: str, setup: Setup) -> Run:
    session = Session(case.model.path, provider=provider, threads=setup.threads, sizes=case.sizes)
    return session.prepared(case.feeds)


def _timed(row: Row, seconds: Sequence[float], first: Sequence[float] | None) -> Row:
    latency = Latency.of(seconds)
    speed_up = None if first is None else SpeedUp.of(first, seconds)
    return replace(row, latency=latency, per_second=(row.batch or 1) * 1e3 / latency.median_ms, speed_up=speed_up)
