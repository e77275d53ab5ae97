"""What is measured on what, and what is not: providers that fall back or fail are never timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_attnprune.errors import ModelError, ProviderError, SettingsError
from onnx_attnprune.evaluate import bench
from onnx_attnprune.evaluate.bench import Model, Row, Setup, cases_of, measure_all
from onnx_attnprune.evaluate.feeds import InputSpec
from onnx_attnprune.evaluate.probe import Probe
from onnx_attnprune.runtime import Placement

FLOAT = np.dtype(np.float32)
SPECS = (InputSpec("x", FLOAT, ("N", 3, "H", 10)), InputSpec("z", FLOAT, ("N", 7)))
FREE = Model(Path("free.onnx"), SPECS, {})
FIXED = Model(Path("fixed.onnx"), (InputSpec("x", FLOAT, (5, 3, None, 10)),), {})


# ---------------------------------------------------------------- cases
def test_a_free_batch_is_one_sample_or_what_was_asked_for() -> None:
    (one,) = cases_of(FREE, {}, ())
    assert (one.batch, one.shapes) == (1, {"x": (1, 3, 224, 10), "z": (1, 7)})
    assert one.sizes == {"N": 1, "H": 224}
    two, eight = cases_of(FREE, {}, (2, 8))
    assert (two.batch, two.shapes["z"], two.sizes["N"]) == (2, (2, 7), 2)
    assert (eight.batch, eight.shapes["x"], eight.sizes) == (8, (8, 3, 224, 10), {"N": 8, "H": 224})
    assert eight.feeds["z"].shape == (8, 7)


def test_a_fixed_batch_is_left_as_it_is() -> None:
    (case,) = cases_of(FIXED, {"x": (5, 3, 6, 10)}, ())
    assert (case.batch, case.shapes, case.sizes) == (None, {"x": (5, 3, 6, 10)}, {})
    for model, asked in ((FIXED, {}), (FREE, {"x": (2, 3, 6, 10)})):
        with pytest.raises(SettingsError, match=r"--batch 1,8: (fixed|free)\.onnx: the batch is not free, or --shape"):
            cases_of(model, asked, (1, 8))


# ---------------------------------------------------------------- rows
class Machine:
    """Providers that take some of ten nodes, and sessions that take a millisecond or so by a clock of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes: Mapping[str, int | Exception]) -> None:
        self.takes, self.now, self.log = takes, 0.0, list[str]()
        monkeypatch.setattr(bench, "probe", self.probe)
        monkeypatch.setattr(bench, "Session", self.session)
        original = bench.in_turns
        monkeypatch.setattr(bench, "in_turns", lambda runs, **given: original(runs, clock=lambda: self.now, **given))

    def probe(self, model: Path, provider: str, threads: int, sizes: Mapping[str, int], feeds: Any) -> Probe:
        took = self.takes[provider]
        if isinstance(took, Exception):
            raise took
        nodes = {name: n for name, n in ((provider, took), ("cpu", 10 - took)) if n}
        return Probe(12.5, 4_000_000, Placement(nodes, ("TopK",) if 0 < took < 10 else ()))

    def session(self, model: Path, *, provider: str, threads: int, sizes: Mapping[str, int]) -> Machine:
        self.log.append(f"{model.stem} {provider} {threads} {sizes['N']}")
        self.takes_ms = {"a": 4.0, "b": 2.0}[model.stem] / {"cpu": 1, "openvino": 4}[provider] * sizes["N"]
        return self

    def prepared(self, feeds: Any) -> Callable[[], None]:
        spent = self.takes_ms / 1e3

        def run() -> None:
            self.now += spent

        return run


def rows(machine: Machine, providers: list[str], batches: tuple[int, ...] = (1,)) -> list[Row]:
    cases = [cases_of(Model(Path(f"{name}.onnx"), SPECS, {}), {}, batches) for name in "ab"]
    return measure_all(list(zip(*cases, strict=True)), providers, Setup(3, 0.1))


def test_every_model_on_every_provider_against_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {"cpu": 10, "openvino": 7})
    found = rows(machine, ["cpu", "openvino"], (1, 8))
    assert [(r.model, r.provider, r.batch) for r in found] == [
        (f"{m}.onnx", p, b) for b in (1, 8) for p in ("cpu", "openvino") for m in "ab"
    ]
    assert {r.outcome for r in found} == {"measured"}
    assert [r.latency.median_ms for r in found[:4] if r.latency] == pytest.approx([4, 2, 1, 0.5])
    assert [r.per_second for r in found] == pytest.approx([250, 500, 1000, 2000] * 2)
    assert [r.speed_up and r.speed_up.factor for r in found] == [None, pytest.approx(2)] * 4
    assert found[3].speed_up is not None
    assert found[3].speed_up.verdict == "faster"
    assert (found[2].placement, found[2].creation_ms, found[2].peak_bytes) == (
        Placement({"openvino": 7, "cpu": 3}, ("TopK",)), 12.5, 4_000_000,
    )  # fmt: skip  # one line
    assert machine.log[4:] == ["a cpu 3 8", "b cpu 3 8", "a openvino 3 8", "b openvino 3 8"]


def test_a_provider_that_takes_no_node_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {"cpu": 10, "openvino": 0})
    found = rows(machine, ["openvino", "cpu"])
    assert [r.outcome for r in found] == ["fell back"] * 2 + ["measured"] * 2
    assert found[0].reason == "openvino took none of the nodes; they run on cpu"
    assert (found[0].latency, found[0].per_second, found[1].speed_up) == (None, None, None)
    assert machine.log == ["a cpu 3 1", "b cpu 3 1"]


@pytest.mark.parametrize("error", [ModelError("an operator too new"), ProviderError("the driver is missing")])
def test_a_provider_that_fails_is_told_and_the_others_measured(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rows(Machine(monkeypatch, {"openvino": error, "cpu": 10}), ["openvino", "cpu"])
    assert [r.outcome for r in found] == ["failed"] * 2 + ["measured"] * 2
    assert found[1].reason == str(error)
    assert found[3].speed_up is not None


def test_nothing_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows(Machine(monkeypatch, {"openvino": 0}), ["openvino"])
    assert [r.outcome for r in found] == ["fell back"] * 2


def test_without_the_first_model_there_is_no_speed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {"cpu": 10})
    original = machine.probe

    def only_b(model: Path, *given: Any) -> Probe:
        if model.stem == "a":
            raise ModelError("too large")
        return original(model, *given)

    monkeypatch.setattr(bench, "probe", only_b)
    a, b = rows(machine, ["cpu"])
    assert (a.outcome, b.outcome, b.speed_up) == ("failed", "measured", None)
