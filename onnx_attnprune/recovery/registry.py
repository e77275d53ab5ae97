"""The registry of recovery methods, and what each of them gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from onnx_attnprune.axes import BoolArray
from onnx_attnprune.errors import SettingsError
from onnx_attnprune.graph import ModelProto
from onnx_attnprune.grouping import Analysis
from onnx_attnprune.recovery.calibration import Calibration
from onnx_attnprune.recovery.consumers import consumers_of
from onnx_attnprune.recovery.spent import Parts
from onnx_attnprune.surgery import release

DEFAULT_MEMORY = 2_000_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Recovery:
    """A repaired model, and how much of it the method reached.

    consumers: how many nodes mix removed channels by a weight. compensated: for how many of them the loss of at least
    one channel was made up for. notes: one line, with the reason, for each consumer that was left out wholly or partly.
    parts: how long each part of it took.
    """

    model: ModelProto
    method: str
    consumers: int
    compensated: int
    notes: tuple[str, ...] = ()
    waves: int = 0
    samples: int = 0
    parts: Parts = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a repair may take, and whom it tells how far it is. memory: bytes, beside those of the models."""

    memory: int = DEFAULT_MEMORY
    tell: Callable[[str], None] = lambda _: None

    @property
    def moments(self) -> int:
        """Bytes of what is gathered of the inputs of several layers at once."""
        return self.memory // 2

    @property
    def looked(self) -> int:
        """Bytes of what the unpruned network says of several layers in one run; and of what is kept of it."""
        return self.memory // 16

    def room(self, moments: int) -> int:
        """Bytes of the tensors of all samples that each network may hold between two layers, beside moments."""
        return max(self.memory * 3 // 16, self.memory // 2 - self.looked - moments)


Method = Callable[[Analysis, Mapping[int, BoolArray], ModelProto, Calibration | None, Limits], Recovery]
RECOVERIES: dict[str, Method] = {}


def recovery(name: str) -> Callable[[Method], Method]:
    """Register a method by the name that users give it. Raises ValueError for a name that is taken."""

    def register(method: Method) -> Method:
        if name in RECOVERIES:
            raise ValueError(f"a recovery method is called {name!r} already: {RECOVERIES[name].__name__}")
        RECOVERIES[name] = method
        return method

    return register


def recover(
    name: str,
    analysis: Analysis,
    alive: Mapping[int, BoolArray],
    pruned: ModelProto,
    calibration: Calibration | None = None,
    limits: Limits | None = None,
) -> Recovery:
    """Repair `pruned`, which is what `surgery.prune(analysis, alive)` gave, with samples where the method uses some.

    A method may edit `pruned` in place, so that its weights are not held twice; the analysed model is never touched.
    Every method but "none" begins with means over channels: from here on they are those of the channels that are left,
    which are closer to the unpruned model's than those with zeros for the others.
    Raises SettingsError for a name that no method has.
    """
    method = RECOVERIES.get(name)
    if method is None:
        raise SettingsError(f"no recovery method is called {name!r}; choose from: {', '.join(RECOVERIES)}")
    if method is not leave:
        release(pruned, analysis, alive)
    return method(analysis, alive, pruned, calibration, limits or Limits())


@recovery("none")
def leave(
    analysis: Analysis, alive: Mapping[int, BoolArray], pruned: ModelProto, calibration: Calibration | None,
    limits: Limits,
) -> Recovery:  # fmt: skip  # two lines
    """The pruned model as it is."""
    return Recovery(pruned, "none", len(consumers_of(analysis, alive)), 0)


def samples_of(calibration: Calibration | None, method: str) -> Calibration:
    """The samples of a method that can't do without. Raises SettingsError where there are none."""
    if calibration is None or not calibration.runs:
        raise SettingsError(f"{method} needs samples to fit on (--calibrate)")
    return calibration
