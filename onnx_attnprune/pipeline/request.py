"""What a user asks of one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.evaluate.feeds import Shape
from onnx_attnprune.evaluate.loading import DataSource
from onnx_attnprune.evaluate.own import MetricFunction
from onnx_attnprune.planning import Settings
from onnx_attnprune.recovery import DEFAULT_MEMORY
from onnx_attnprune.report import Stage
from onnx_attnprune.runtime import check_threads

Tell = Callable[[str], None]
WouldHold = Literal["try", "foretell", "off"]
LEAST_MEMORY = 64 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks of one run.

    output: None for a dry run. round_to: a number, or None for what the provider's kernels like. latency_seconds: for
    how long each model is run to measure its latency (0: not at all). threads: of ONNX Runtime for measuring (0: its
    choice). bench: providers to measure both models on, in turns. evaluation, calibration: see `evaluate.loading`;
    preprocess: of images in a folder. metric: `module:function` or a function (outputs, labels) that says how good
    outputs are; None: as the labels ask for. reports: where to write the report, each in the form that its ending names
    (see REPORTS).
    would_hold: where the result is of little use, "try" smaller amounts to name one that would be, "foretell" one
    without a try, or leave such results alone ("off").
    memory: bytes that the repair may take for what it gathers, beside the models. spared: groups that had better stay
    whole beside those of which the analysis says so, and why, by name.
    """

    model: Path
    output: Path | None
    settings: Settings
    round_to: int | None = None
    provider: str = "cpu"
    recover: str = "auto"
    would_hold: WouldHold = "try"
    memory: int = DEFAULT_MEMORY
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    evaluation: DataSource | None = None
    calibration: DataSource | None = None
    preprocess: str = ""
    metric: str | MetricFunction | None = None
    plan: Path | None = None
    from_plan: Path | None = None
    reports: tuple[Path, ...] = ()
    latency_seconds: float = 1.0
    threads: int = 0
    bench: tuple[str, ...] = ()
    command: str = ""
    spared: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.latency_seconds < float("inf"):
            raise SettingsError(f"--latency-seconds {self.latency_seconds:g}: must be 0 or a number of seconds")
        if self.would_hold not in get_args(WouldHold):
            raise SettingsError(f"--would-hold {self.would_hold!r} is not one of {', '.join(get_args(WouldHold))}")
        if len(set(self.bench)) < len(self.bench):
            raise SettingsError(f"--bench {','.join(self.bench)}: names one twice")
        if self.bench and not self.latency_seconds:
            raise SettingsError("--bench has to measure: it can't be had with --latency-seconds 0")
        if self.metric is not None and self.evaluation is None:
            raise SettingsError("--metric judges outputs by the labels of --eval, which is not given")
        if self.memory < LEAST_MEMORY:
            raise SettingsError(f"--memory: at least {LEAST_MEMORY >> 20}MB")
        check_threads(self.threads)
        for option, value in (
            ("--max-drop", self.settings.max_drop),
            ("--target-latency", self.settings.target_latency),
        ):
            if value is not None and self.output is None:
                raise SettingsError(f"{option} has to cut and to measure: it can't be had with --dry-run")
        if self.settings.target_latency is not None and not self.latency_seconds:
            raise SettingsError("--target-latency has to measure: it can't be had with --latency-seconds 0")
        if self.settings.max_drop is not None and self.evaluation is None and self.calibration is None:
            raise SettingsError(
                "--max-drop needs samples to measure the drop on: --eval, or --calibrate without labels"
            )

    @property
    def fits(self) -> bool:
        """Whether the repair looks at samples, the user's or made-up ones."""
        return self.recover not in ("none", "mean")


class Clock:
    """Seconds of each stage, told to the user as they begin."""

    def __init__(self, tell: Tell) -> None:
        self.stages: list[Stage] = []
        self.tell = tell

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.tell(name)
        start = time.perf_counter()
        yield
        self.stages.append(Stage(name, time.perf_counter() - start))
