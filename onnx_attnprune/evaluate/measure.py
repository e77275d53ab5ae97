"""The result against the unpruned model: accuracy, drift of the outputs, latency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from onnx_attnprune.errors import ModelError
from onnx_attnprune.evaluate.data import Dataset, fixed_batch
from onnx_attnprune.evaluate.drift import Drift, drift_at, drift_on
from onnx_attnprune.evaluate.feeds import InputSpec, Shape, random_feeds, shapes_text
from onnx_attnprune.evaluate.latency import Latency, measure_pair
from onnx_attnprune.evaluate.metrics import Figures, evaluate
from onnx_attnprune.evaluate.own import Metric
from onnx_attnprune.evaluate.selfcheck import in_float32_too
from onnx_attnprune.evaluate.staging import loadable
from onnx_attnprune.runtime import Session

if TYPE_CHECKING:
    import onnx

Feeds = dict[str, NDArray[Any]]
BATCH = 64  # samples that are evaluated at a time, and that drift is measured on


@dataclass(frozen=True, slots=True)
class Speed:
    """Latency of both models, measured in turns: `speedup` is the median of the per-round ratios (above 1: faster)."""

    provider: str
    before: Latency
    after: Latency
    speedup: float
    shapes: Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Figures of the original, of the pruned model before repair (None without repair) and after it."""

    data: str
    before: Figures
    unrepaired: Figures | None
    after: Figures


@dataclass(frozen=True, slots=True)
class Given:
    """What the models are fed. `shapes`: for drift; `single`: one sample, for latency; `limits`: see `random_feeds`.

    metric: the user's own way to judge the outputs on the data. unlabelled: samples for drift and latency where there
    is no data; without them both are measured on random inputs.
    """

    specs: Sequence[InputSpec]
    shapes: Mapping[str, Shape]
    single: Mapping[str, Shape]
    limits: Mapping[str, int]
    data: Dataset | None
    metric: Metric | None = None
    unlabelled: Dataset | None = None

    @property
    def samples(self) -> Dataset | None:
        """What drift and latency are measured on; None: random inputs."""
        return self.unlabelled if self.data is None else self.data


@dataclass(frozen=True, slots=True)
class Setup:
    """Where and how the models run. seconds: 0 for no latency. in_float32: they are float32 copies, as the check's."""

    provider: str
    threads: int
    seconds: float
    in_float32: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """All that running both models tells."""

    accuracy: Accuracy | None
    drift: Drift
    speed: Speed | None
    notes: tuple[str, ...]


def accuracy_of(model: onnx.ModelProto, given: Given, setup: Setup, folder: Path) -> Figures:
    """Accuracy of a model that lies in no file. Raises DataError where there is no data."""
    with loadable(model, folder) as source:
        return _evaluate(Session(source, provider=setup.provider, threads=setup.threads), given, setup)


def measure(
    original: Path, pruned: Path, unrepaired: Figures | None, given: Given, setup: Setup,
    stage: Callable[[str], AbstractContextManager[None]],
) -> Measured:  # fmt: skip  # two lines
    """Run both models. Raises ModelError where one does not run, DataError where the data does not fit the outputs."""
    with stage("accuracy" if given.data is not None else "drift"):
        before = Session(original, provider=setup.provider, threads=setup.threads)
        after = Session(pruned, provider=setup.provider, threads=setup.threads)
        accuracy = None
        if given.data is not None:
            one, two = _evaluate(before, given, setup), _evaluate(after, given, setup)
            accuracy = Accuracy(given.data.source, one, unrepaired, two)
        drift = _drift(before, after, given, setup)
    if setup.in_float32:
        return Measured(accuracy, drift, None, ("no latency: ONNX Runtime has no bfloat16 kernels here",))
    if not setup.seconds:
        return Measured(accuracy, drift, None, ())
    with stage("latency"):
        speed = _speed(before, after, given, setup)
    return Measured(accuracy, drift, speed, ())


def _evaluate(session: Session, given: Given, setup: Setup) -> Figures:
    assert given.data is not None
    data = given.data.in_float32() if setup.in_float32 else given.data
    return evaluate(session, data, BATCH, fixed_batch(given.specs, data), given.metric)


def _drift(before: Session, after: Session, given: Given, setup: Setup) -> Drift:
    if given.samples is None:
        feeds = random_feeds(given.specs, given.shapes, 1, given.limits)
        if setup.in_float32:
            feeds = {name: in_float32_too(array) for name, array in feeds.items()}
        return drift_at(before, after, feeds, f"random inputs ({shapes_text(given.shapes)})")
    # Unlabelled samples are spread already.
    data = given.samples.part(slice(None, BATCH)) if given.data is None else given.data.drawn(BATCH)
    return drift_on(
        before, after, data.in_float32() if setup.in_float32 else data, BATCH, fixed_batch(given.specs, data)
    )


def _speed(before: Session, after: Session, given: Given, setup: Setup) -> Speed:
    feeds = _latency_feeds(given, given.single)
    try:
        before.run(feeds)
    except ModelError:  # a free batch that is not free after all
        feeds = _latency_feeds(given, given.shapes)
    one, two, speedup = measure_pair(before, after, feeds, min_seconds=setup.seconds)
    return Speed(setup.provider, one, two, speedup, {name: tuple(array.shape) for name, array in feeds.items()})


def _latency_feeds(given: Given, shapes: Mapping[str, Shape]) -> Feeds:
    if given.samples is None:
        return random_feeds(given.specs, shapes, 1, given.limits)
    return given.samples.first(shapes)
