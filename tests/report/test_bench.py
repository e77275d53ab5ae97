"""The figures of a measurement for people and for programs."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from onnx_attnprune.evaluate.bench import Row
from onnx_attnprune.evaluate.latency import Latency, SpeedUp
from onnx_attnprune.report import to_json
from onnx_attnprune.report.bench import Bench, against, render
from onnx_attnprune.runtime import Placement

SHAPES = {"x": (8, 3, 224, 224)}
FAST = SpeedUp(1.6234, 1.6, 1.7)


def row(model: str, provider: str, median: float, speed_up: SpeedUp | None, took: int = 40) -> Row:
    nodes = {name: n for name, n in ((provider, took), ("cpu", 40 - took)) if n}
    placement = Placement(nodes, ("TopK", "NonZero") if took < 40 else ())
    latency = Latency(median, median * 1.5, median, 0.07, 100)
    return Row(model, provider, 8, SHAPES, "measured", "", 51.2, 18_600_000, placement, latency, 8e3 / median, speed_up)


BENCH = Bench(
    "onnx-attnprune bench a/in.onnx b/a_rather_long_name_of_a_network_that_was_pruned.onnx", {}, 2, 1.0,
    (
        row("a/in.onnx", "cpu", 12.345, None),
        row("b/a_rather_long_name_of_a_network_that_was_pruned.onnx", "cpu", 7.61, FAST),
        row("a/in.onnx", "openvino", 220.4, None, 37),
        Row("b/a_rather_long_name_of_a_network_that_was_pruned.onnx", "openvino", 8, SHAPES, "fell back", "took none",
            44.0, None, Placement({"cpu": 40}, ())),
    ),
)  # fmt: skip  # one line a row


def shown(bench: Bench, width: int = 80) -> str:
    out = io.StringIO()
    render(bench, Console(file=out, width=width, highlight=False))
    return out.getvalue()


def test_figures_for_people() -> None:
    words = " ".join(shown(BENCH, 120).split())
    for text in (
        "latency, batch 8 (8x3x224x224)",
        "in cpu 12.3 ms 7% 18.5 ms 648",
        "cpu 7.61 ms 7% 11.4 ms 1,051 1.62x faster",
        "in openvino 220 ms",
        "in cpu 8 51.2 ms 18.6 MB 40 of 40",
        "in openvino 8 51.2 ms 18.6 MB 37 of 40",
        "openvino fell back",
        "fell back a_rather_long_name_of_a_network_that_was_pruned on openvino: took none",
        "note openvino leaves operators of in to the CPU: TopK, NonZero",
        "threads: 2",
    ):
        assert text in words, text


@pytest.mark.parametrize("width", [80, 100])
def test_it_fits(width: int) -> None:
    text = shown(BENCH, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "1.62x faster" in text
    assert "a_rather_long" in text


def test_files_of_one_name_are_told_apart() -> None:
    rows = (row("a/in.onnx", "cpu", 2, None), row("b/in.onnx", "cpu", 1, FAST))
    assert "b/in.onnx" in shown(Bench("", {}, 0, 1.0, rows), 120)


def test_figures_for_programs() -> None:
    told = json.loads(to_json(BENCH))
    assert (told["format"], told["version"], told["threads"]) == ("onnx-attnprune/bench", 1, 2)
    assert [r["verdict"] for r in told["rows"]] == [None, "faster", None, None]
    assert told["rows"][2]["placement"] == {"nodes": {"openvino": 37, "cpu": 3}, "left_to_cpu": ["TopK", "NonZero"]}
    assert told["rows"][3]["latency"] is None


@pytest.mark.parametrize(
    ("speed_up", "text"),
    [
        (None, ""),
        (FAST, "1.62x faster"),
        (SpeedUp(0.5, 0.4, 0.6), "2.00x slower"),
        (SpeedUp(0.996, 0.98, 1.01), "1.00x within noise"),
        (SpeedUp(3.0, None, None), "3.00x unclear"),
    ],
)
def test_comparisons(speed_up: SpeedUp | None, text: str) -> None:
    assert against(speed_up) == text
