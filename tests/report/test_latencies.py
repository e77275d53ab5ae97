"""Latencies on several providers, and what a phone takes, in the texts of a report."""

from __future__ import annotations

from dataclasses import replace

from onnx_attnprune.deploy.usability import Obstacle, Usability
from onnx_attnprune.evaluate.bench import Row
from onnx_attnprune.evaluate.latency import SpeedUp
from onnx_attnprune.report import PhoneChange, advice
from onnx_attnprune.report.latencies import latencies
from onnx_attnprune.runtime import Placement
from onnx_attnprune.runtime.mobile import Partitions
from tests.report.test_terminal import REPORT, latency, words

SHAPES = {"x": (1, 3, 224, 224)}
TOOK_NONE = "xnnpack took none of the nodes; they run on cpu"


def rows(provider: str, before: float, after: float, left: tuple[str, ...] = ()) -> tuple[Row, Row]:
    """Both models on a provider that takes all of 40 nodes, or leaves one of an operator in `left` to the CPU."""
    placement = Placement({provider: 40 - len(left), **({"cpu": len(left)} if left else {})}, left)
    row = Row(
        "in.onnx", provider, 1, SHAPES, "measured", "", 51.2, 18_600_000, placement, latency(before), 1e3 / before
    )
    factor = SpeedUp(before / after, None, None)
    return row, replace(row, model="out.onnx", latency=latency(after), per_second=1e3 / after, speed_up=factor)


def fell_back(model: str) -> Row:
    return Row(model, "xnnpack", 1, SHAPES, "fell back", TOOK_NONE, 44.0, None, Placement({"cpu": 40}, ()))


ROWS = (*rows("cpu", 14.2, 7.1), *rows("openvino", 9.9, 4.95, ("TopK",)), fell_back("in.onnx"), fell_back("out.onnx"))


def usable(supported: int, sizes: tuple[int, ...], obstacles: tuple[Obstacle, ...] = ()) -> Usability:
    found = Partitions(40, supported, sizes, (), 0, 0, {}, "yes" if len(sizes) == 1 else "maybe")
    return Usability("in.onnx", SHAPES, found, obstacles, {}, 8, ("w",), 16)


SPLIT = Obstacle("Split", "its parts are not equal", 1, "halves")
SAME = PhoneChange(usable(40, (40,)), usable(40, (40,)), ())
WORSE = PhoneChange(usable(40, (40,)), usable(39, (20, 19), (SPLIT,)), ("1 Split node more that NNAPI does not take",))


def test_one_provider_is_the_one_of_the_run() -> None:
    (found,) = latencies(REPORT)
    assert (found.provider, found.speedup, found.reason) == ("cpu", 2.0, "")
    assert found.before.row is None
    assert latencies(replace(REPORT, speed=None)) == ()


def test_benched_providers_come_once_and_in_their_order() -> None:
    found = latencies(replace(REPORT, bench=ROWS))
    assert [(one.provider, one.speedup) for one in found] == [("cpu", 2.0), ("openvino", 2.0), ("xnnpack", None)]
    assert found[2].reason == f"fell back: {TOOK_NONE}"
    other = latencies(replace(REPORT, bench=ROWS[2:4]))
    assert [one.provider for one in other] == ["cpu", "openvino"]


def test_every_provider_stands_in_the_result() -> None:
    text = words(replace(REPORT, bench=ROWS), 120)
    for part in (
        "latency, cpu 14.2 ms ±5% 7.1 ms ±5% 2.00x faster",
        "latency, openvino 9.9 ms ±5% 4.95 ms ±5% 2.00x faster",
        "latency, xnnpack fell back fell back",
    ):
        assert part in text, part


def test_warnings_of_providers() -> None:
    assert advice(replace(REPORT, bench=ROWS[:4])) == ()
    assert advice(replace(REPORT, bench=ROWS)) == (f"not measured on xnnpack: fell back: {TOOK_NONE}",)
    slower = replace(REPORT, bench=(*ROWS[:2], *rows("openvino", 4.0, 5.0)))
    assert advice(slower) == (
        "the pruned model is 1.25x slower than the original on openvino: prune for it with --provider openvino",
    )


def test_a_phone_is_one_line() -> None:
    assert "phone NNAPI takes 40 of 40 nodes in 1 part; pruning changed nothing that it minds" in words(
        replace(REPORT, phone=SAME)
    )
    assert (
        "NNAPI takes 39 of 40 nodes in 2 parts (of the original 40 of 40 in 1 part); 1 Split node more that NNAPI does "
        "not take"
    ) in words(replace(REPORT, phone=WORSE))
    assert "phone" not in words(REPORT)
