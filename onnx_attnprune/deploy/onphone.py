"""A bundle run on a phone: outputs checked, nodes placed, latency measured in turns, by ONNX Runtime's own tools."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from onnx_attnprune.deploy.bundle import MODEL, ROLES, Bundle, Bundled
from onnx_attnprune.errors import DeviceError, SettingsError, ToolError
from onnx_attnprune.evaluate.bench import Row
from onnx_attnprune.evaluate.latency import Latency, SpeedUp
from onnx_attnprune.phone import (
    PERF_TEST,
    TEMPORARY,
    TEST_RUNNER,
    TOOLS,
    Adb,
    Measured,
    Phone,
    Workplace,
    measured_of,
    outputs_fault,
    phone_of,
    placed_on,
)
from onnx_attnprune.runtime import Placement

Tell = Callable[[str], None]
PROFILE, TABLE = "profile", "times.csv"
NO_CPU, NO_CPU_SDK = "NNAPI_FLAG_CPU_DISABLED", 29  # an option of `onnxruntime_perf_test`, and what it needs
HOW_PLACED = "by ONNX Runtime's own profile of a run on the phone"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to run. repeats: how often each model has its turn; runs: inferences in each; tolerance: see `limits`.

    accelerators_only: NNAPI may not use the phone's CPU, so that what it can't run elsewhere is left to ONNX Runtime.
    """

    providers: tuple[str, ...]
    repeats: int
    runs: int
    threads: int
    tolerance: float | None
    accelerators_only: bool


@dataclass(frozen=True, slots=True)
class OnPhone:
    """What came out. runtime: the version of ONNX Runtime that the tools have; left: what could not be cleaned up."""

    phone: Phone
    runtime: str
    rows: tuple[Row, ...]
    left: str


def tool_files(folder: Path) -> dict[str, Path]:
    """The tools in a folder, with the libraries beside them, by name. Raises SettingsError where one is missing."""
    if not folder.is_dir():
        raise SettingsError(f"--tools {folder}: no such folder")
    for tool in TOOLS:
        if not (folder / tool).is_file():
            raise SettingsError(f"--tools {folder}: holds no {tool}; ONNX Runtime's build for Android makes it")
    return {p.name: p for p in sorted(folder.iterdir()) if p.name in TOOLS or (p.suffix == ".so" and p.is_file())}


def run_on(adb: Adb, folder: Path, bundle: Bundle, tools: Mapping[str, Path], wanted: Wanted, tell: Tell) -> OnPhone:
    """Run a bundle on a phone; without `tools` those that lie in the phone's own temporary folder.

    What goes wrong with one model on one provider is a row that says so. Raises DeviceError where nothing can be run,
    or the phone is lost; whatever happens, nothing of ours is left on it, or the error says so.
    """
    phone = phone_of(adb)
    if wanted.accelerators_only and phone.sdk.isdecimal() and int(phone.sdk) < NO_CPU_SDK:
        raise DeviceError(f"{phone.serial}: --accelerators-only needs Android 10; it has Android {phone.android}")
    place = Workplace.fresh(adb, None if tools else TEMPORARY)
    try:
        version, rows = _run_in(place, folder, bundle, tools, wanted, tell)
    except DeviceError as error:
        left = place.remove()
        raise type(error)(f"{error}; {left}" if left else str(error)) from None
    except BaseException:  # an interrupt: a tool may still run there
        with suppress(DeviceError):
            place.stop()
        place.remove()
        raise
    return OnPhone(phone, version, rows, place.remove())


def _run_in(
    place: Workplace, folder: Path, bundle: Bundle, tools: Mapping[str, Path], wanted: Wanted, tell: Tell
) -> tuple[str, tuple[Row, ...]]:
    tell("copy to the phone")
    sizes = {name: (folder / name).stat().st_size for name in bundle.files if name.split("/")[0] in ROLES}
    sizes |= {name: path.stat().st_size for name, path in tools.items()}
    place.put([*(str(folder / role) for role in ROLES), *map(str, tools.values())], sizes)
    version = re.search(r"onnxruntime version: (\S+)", place.started(TEST_RUNNER))
    place.started(PERF_TEST)
    return "" if version is None else version[1], tuple(_rows(place, bundle, wanted, tell))


def _rows(place: Workplace, bundle: Bundle, wanted: Wanted, tell: Tell) -> Iterator[Row]:
    """A row for each model on each provider, the original first."""
    rows = []
    for provider in wanted.providers:
        for model in bundle.models:
            tell(f"check {model.role} on {provider}")
            rows.append(_checked(place, model, provider, wanted))
    turns: dict[int, list[Measured]] = {k: [] for k, row in enumerate(rows) if row.outcome == "measured"}
    for turn in range(wanted.repeats):
        tell(f"measure in turns, {turn + 1} of {wanted.repeats}")
        begin = turn % max(len(turns), 1)  # each stands equally often in each place
        for k in [*turns][begin:] + [*turns][:begin]:
            model = bundle.models[k % len(bundle.models)]
            try:
                turns[k].append(_measured(place, model, rows[k].provider, wanted))
            except ToolError as error:
                rows[k] = replace(rows[k], outcome="failed", reason=f"in turn {turn + 1}: {error}")
                del turns[k]
    for k, row in enumerate(rows):
        first = k - k % len(bundle.models)
        yield _timed(row, turns[k], turns.get(first, ()) if k != first else ()) if k in turns else row


def _checked(place: Workplace, model: Bundled, provider: str, wanted: Wanted) -> Row:
    """A row that is still without times where the model runs there, and gives what it must."""
    row = Row(model.source, provider, model.batch, model.shapes, "measured")
    absolute, relative = model.limits(wanted.tolerance)
    limits = ["-a", f"{absolute:.6g}", "-t", f"{relative:.6g}"]
    try:
        done = place.run(TEST_RUNNER, ["-e", provider, "-j", "1", "-c", "1", *limits, model.role])
        wrong = outputs_fault(TEST_RUNNER, done)
        if wrong:
            return replace(row, outcome="wrong", reason=f"{wrong} (limits: {absolute:.2g}, relative {relative:.2g})")
        done = place.run(PERF_TEST, [*_given(provider, 1, wanted), "-p", PROFILE, f"{model.role}/{MODEL}"])
        profile = place.text(f"{PROFILE}*.json")
        placement = Placement.of(placed_on(PERF_TEST, done, profile), provider)
    except ToolError as error:
        return replace(row, outcome="failed", reason=str(error))
    row = replace(row, placement=placement)
    if not placement.on(provider):
        where = ", ".join(placement.nodes)
        why = f"{provider} took none of the nodes; they run on {where} ({HOW_PLACED})"
        return replace(row, outcome="fell back", reason=why)
    return row


def _measured(place: Workplace, model: Bundled, provider: str, wanted: Wanted) -> Measured:
    given = _given(provider, wanted.runs, wanted)
    done = place.run(PERF_TEST, [*given, f"{model.role}/{MODEL}", TABLE])
    return measured_of(PERF_TEST, done, place.text(TABLE), wanted.runs)


def _given(provider: str, runs: int, wanted: Wanted) -> list[str]:
    """Options of `onnxruntime_perf_test`."""
    threads = ["-x", str(wanted.threads)] if wanted.threads else []
    no_cpu = ["-i", NO_CPU] if provider == "nnapi" and wanted.accelerators_only else []
    return ["-e", provider, "-m", "times", "-r", str(runs), *threads, *no_cpu]


def _timed(row: Row, its: Sequence[Measured], first: Sequence[Measured]) -> Row:
    """A row with its times; a turn of one model is compared with the same turn of the other."""
    latency = Latency.of([s for turn in its for s in turn.seconds])
    pair = [[median(turn.seconds) for turn in turns] for turns in (first, its)]
    creations = [turn.creation for turn in its if turn.creation is not None]
    peaks = [turn.peak_bytes for turn in its if turn.peak_bytes is not None]
    return replace(
        row,
        creation_ms=median(creations) * 1e3 if creations else None,
        peak_bytes=max(peaks, default=None),
        latency=latency,
        per_second=(row.batch or 1) * 1e3 / latency.median_ms,
        speed_up=SpeedUp.of(*pair) if first else None,
    )
