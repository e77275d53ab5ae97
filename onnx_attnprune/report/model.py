"""What a run found, as frozen data; the texts are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from onnx_attnprune.deploy.usability import Usability
from onnx_attnprune.evaluate.bench import Row
from onnx_attnprune.evaluate.drift import Drift
from onnx_attnprune.evaluate.measure import Accuracy, Speed
from onnx_attnprune.evaluate.selfcheck import SelfCheck

FORMAT, VERSION = "onnx-attnprune/report", 1


@dataclass(frozen=True, slots=True)
class Change:
    """A count before and after pruning."""

    before: int
    after: int

    @property
    def left(self) -> float:
        """The share that is left (1.0 where there was nothing)."""
        return self.after / self.before if self.before else 1.0


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many channels of a group score what, in bins of equal width over the scores 0 to 1.

    cut: halfway between the best channel that goes and the worst that stays; None where no score divides them.
    earlier: how many were removed in an earlier stage, and so have no score in the last.
    """

    kept: tuple[int, ...]
    removed: tuple[int, ...]
    cut: float | None
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One channel group: how many of its channels stay, in how many weight axes they lie, and how they score.

    scores: None where the plan states none.
    """

    name: str
    size: int
    kept: int
    members: int
    scores: Histogram | None = None


@dataclass(frozen=True, slots=True)
class KeptRow:
    """Weight axes that are kept for one reason: how many, with how many channels, and one of them as an example."""

    why: str
    op: str
    axes: int
    channels: int
    example: str
    node: str


@dataclass(frozen=True, slots=True)
class Repair:
    """What the repair did: its method, how many of the consumers of removed channels it could mend, and why not all.

    waves: how many sets of layers were fitted, one after the other. samples: on how many samples. peak: the most bytes
    of memory that the process held until then; None where the system does not say. parts: what took how many seconds.
    """

    method: str
    consumers: int
    compensated: int
    notes: tuple[str, ...] = ()
    waves: int = 0
    samples: int = 0
    peak: int | None = None
    parts: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of a search: shares of MACs and channels that were left, and the drop of accuracy after repair.

    most: what the drop is at most on other samples, in nine cases of ten. known: how far it may be from the measured
    one. Both None where that can't be told.
    """

    macs: float
    channels: float
    drop: float
    most: float | None = None
    known: float | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """The search for the smallest model that loses no more than `limit`.

    measure: what the drop is one of. samples: how many samples it was measured on. vouched: the least drop that so many
    can vouch for. trials: in the order in which they were tried. chosen: the one taken.
    """

    limit: float
    measure: str
    samples: int
    vouched: float
    trials: tuple[Trial, ...]
    chosen: int


@dataclass(frozen=True, slots=True)
class HeldTrial:
    """One amount that was tried, as its option says it: shares of channels and MACs that were left, how like the
    original the repaired model was, what it is at least on other samples (in nine cases of ten; None: not known), and
    whether it is enough on these."""

    amount: float
    channels: float
    macs: float
    value: float
    least: float | None
    enough: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """What is known of a result that is too far from the original to be of use, and of what would be.

    option, asked: what the user asked for. measure, enough, value: of what at least how much was needed, and how much
    there was, on `samples` samples (`on`, for people; made_up: not the user's). trials: what was tried, in order; the
    first is what was asked for, where the repair had seen the samples. holds: the amount that was found to be enough;
    foretold: one that was not tried. why: why no more was tried ("": there was nothing between).
    """

    option: str
    asked: float
    measure: str
    enough: float
    value: float
    samples: int
    on: str
    made_up: bool
    trials: tuple[HeldTrial, ...]
    holds: float | None
    foretold: float | None
    why: str


@dataclass(frozen=True, slots=True)
class TimedTrial:
    """One point of a search for latency: shares of MACs and channels that were left, and of the measured latency.

    confirmed: the same, measured for longer; None for a choice that was not a candidate in the end.
    """

    macs: float
    channels: float
    latency: float
    confirmed: float | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """The search for the largest model that takes at most `limit` of the unpruned model's time on `provider`.

    trials: in the order in which they were tried. chosen: the one taken.
    """

    limit: float
    provider: str
    trials: tuple[TimedTrial, ...]
    chosen: int


@dataclass(frozen=True, slots=True)
class PhoneChange:
    """What NNAPI would take of the original and of the pruned model, and what is another matter after pruning."""

    before: Usability
    after: Usability
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """Seconds of wall time that a stage of the run took."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one run.

    Sizes in bytes, external files of weights included; MACs per run at `shapes` (one sample, where the batch is free).
    `output`, `size`, `self_check` and all that needs a run of the models are None for a dry run.
    bench: the original and the pruned model on each provider of --bench, two rows each; `speed` is that on --provider.
    notes: what a user should know; warnings: what asks for an action. sha256: of the model's file ("": not hashed).
    """

    model: str
    output: str | None
    command: str
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    channels: Change
    parameters: Change
    macs: Change
    size: Change | None
    groups: tuple[GroupRow, ...]
    kept: tuple[KeptRow, ...]
    self_check: SelfCheck | None
    drift: Drift | None
    speed: Speed | None
    accuracy: Accuracy | None
    repair: Repair | None
    stages: tuple[Stage, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    search: Search | None = None
    timing: Timing | None = None
    sha256: str = ""
    bench: tuple[Row, ...] = ()
    phone: PhoneChange | None = None
    holding: Holding | None = None

    @property
    def seconds(self) -> float:
        """Wall time of all stages together."""
        return sum(stage.seconds for stage in self.stages)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data for JSON, with its format and version."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}
