"""The report for people, at the widths of their terminals."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from onnx_attnprune.evaluate.drift import Drift
from onnx_attnprune.evaluate.equivalence import Difference
from onnx_attnprune.evaluate.latency import Latency
from onnx_attnprune.evaluate.measure import Accuracy, Speed
from onnx_attnprune.evaluate.metrics import Classification
from onnx_attnprune.evaluate.selfcheck import SelfCheck
from onnx_attnprune.report import Change, GroupRow, HeldTrial, Holding, KeptRow, Repair, Report, Stage, advice, render
from onnx_attnprune.report.terminal import fold

LONG = "/model/encoder/layers.11/self_attention/relative_position_embeddings/query_projection/MatMul_weight_quantized"

FIND = "let --max-drop 0.01 find how much can go, or train the result further"


def difference(output: str, cosine: float = 0.98, dtype: str = "float32", agreement: float | None = None) -> Difference:
    return Difference(output, dtype, 0.5, 0.25, cosine, 12.5, agreement)


def classification(top1: float, top5: float | None = 0.99) -> Classification:
    return Classification(2000, top1, top5, 0.9, 0.8, 0.7)


def latency(median: float, spread: float = 0.05) -> Latency:
    return Latency(median, median, median, spread, 100)


REPORT = Report(
    model="in.onnx", output="out.onnx", command="onnx-attnprune in.onnx out.onnx", versions={},
    settings={"round_to": 8},
    shapes={"x": (1, 3, 224, 224)}, channels=Change(608, 424), parameters=Change(25_557_032, 12_345_678),
    macs=Change(4_089_284_608, 2_000_000_000), size=Change(102_400_000, 51_200_000),
    groups=(GroupRow(LONG, 3072, 2160, 14), GroupRow("stem.conv", 64, 48, 5)),
    kept=(KeptRow("normalised over", "LayerNormalization", 25, 19_200, f"{LONG} axis 1", "n"),
          KeptRow("graph output", "", 2, 20, "fc.weight axis 0", "fc")),
    self_check=SelfCheck((difference("y", 1.0),), 1e-3, "random inputs (2x3x224x224)"),
    drift=Drift("64 samples of data.npz", 64, (difference("logits", agreement=0.953),)),
    speed=Speed("cpu", latency(14.2), latency(7.1), 2.0, {"x": (1, 3, 224, 224)}),
    accuracy=Accuracy("data.npz", classification(0.9345), classification(0.2), classification(0.915)),
    repair=Repair("mean", 16, 12),
    stages=(Stage("read", 0.1), Stage("accuracy", 1.0), Stage("repair", 0.9), Stage("accuracy", 1.0)),
    notes=(),
)  # fmt: skip  # one line a topic


def shown(report: Report, width: int = 80) -> str:
    out = io.StringIO()
    render(report, Console(file=out, width=width, highlight=False))
    return out.getvalue()


def words(report: Report, width: int = 80) -> str:
    return " ".join(shown(report, width).split())


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_it_fits_and_loses_nothing(width: int) -> None:
    text = shown(REPORT, width)
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    if width >= 80:
        assert all(part in text for part in LONG.split("/"))
    assert "…" not in text
    for figure in ("25,557,032", "12,345,678", "-51.7 %", "4,089,284,608", "102,400,000", "-50.0 %"):
        assert figure in text


def test_a_run() -> None:
    text = words(REPORT)
    for part in (
        "stem.conv 64 48 75% 5",
        "graph output 2 20 fc.weight axis 0",
        "channels 608 424 -30.3 %",
        "MACs (1x3x224x224)",
        "latency, cpu 14.2 ms ±5% 7.1 ms ±5% 2.00x faster",
        "top-1 of 2,000 samples 93.45% 91.50% -1.95 points",
        "before repair 20.00% -73.45 points",
        "top-5 99.00% 99.00% +0.00 points",
        "passed: pruned == masked original on random inputs (2x3x224x224), off by at most 2.5e-01 of the largest value",
        "logits against the unpruned model on 64 samples of data.npz: cosine 0.9800, 12.5 dB, same top-1 in 95.3%",
        "mean, 12 of 16 consumers",
        "3.00 s: read 0.10, accuracy 2.00, repair 0.90 (30% of it)",
        "written out.onnx",
    ):
        assert part in text, part


def test_a_dry_run() -> None:
    dry = replace(REPORT, output=None, size=None, self_check=None, drift=None, speed=None, accuracy=None, repair=None)
    text = words(dry)
    assert "dry run no model was cut or written" in text
    for part in ("bytes", "latency", "top-1", "self-check", "drift", "written out"):
        assert part not in text


def test_many_groups_reasons_and_notes() -> None:
    many = replace(
        REPORT,
        groups=tuple(GroupRow(f"g{k}", 100 + k, 50, 1) for k in range(15)),
        kept=tuple(KeptRow(f"why{k}", "", 1, 100 - k, f"t{k}", "n") for k in range(9)),
        notes=tuple(f"note {k}" for k in range(7)),
    )
    text = words(many)
    assert "g14 114 50 44% 1" in text
    assert "… and 3 more 303 150 50%" in text
    assert "… and 3 more reasons 3 279" in text
    assert "note note 3 note … and 3 more (--report or --json lists all)" in text


def test_noise_is_called_noise() -> None:
    assert REPORT.speed is not None
    noisy = replace(REPORT, speed=replace(REPORT.speed, before=latency(14.2, 8.1), after=latency(1234.5)))
    assert "14.2 ms noisy 1,234 ms ±5%" in words(noisy)
    assert "±810%" not in words(noisy)


def test_a_slower_model() -> None:
    assert REPORT.speed is not None
    assert "1.25x slower" in words(replace(REPORT, speed=replace(REPORT.speed, speedup=0.8)))


def test_many_outputs_are_one_line() -> None:
    drift = Drift("random inputs (2x3)", 2, tuple(difference(f"box{k}", 1 - k / 10, agreement=0.0) for k in range(9)))
    text = words(replace(REPORT, drift=drift))
    assert (
        "drift 9 outputs, furthest box8 against the unpruned model on random inputs (2x3): cosine 0.2000, 12.5 dB"
        in text
    )
    assert "box7" not in text
    assert "top-1 in" not in text  # of two random samples it says nothing


def test_a_repair_says_what_it_left_out() -> None:
    notes = tuple(f"conv{k}: the mean is not known" for k in range(5))
    text = words(replace(REPORT, repair=Repair("mean", 16, 12, notes)))
    assert "channels; conv0: the mean is not known (and 4 more such notes in --report)" in text
    assert "conv1" not in text


def test_a_repair_says_where_its_time_went() -> None:
    repair = Repair("least squares", 16, 16, waves=3, peak=2 * 10**8, parts=(("run both networks", 1.5), ("fit", 2.25)))
    text = words(replace(REPORT, repair=repair))
    assert "in 3 waves; memory of the run 0.20 GB at most; time: fit 2.25 s, run both networks 1.50 s" in text


def test_integer_outputs_have_no_angle() -> None:
    drift = Drift("random inputs (2x3)", 2, (difference("class", dtype="int64"),))
    assert "random inputs (2x3): 25.0% of the values differ" in words(replace(REPORT, drift=drift))


def test_several_inputs_leave_the_shapes_out() -> None:
    text = words(replace(REPORT, shapes={"ids": (1, 16), "mask": (1, 16)}))
    assert "MACs 4,089" in text


def test_five_classes_have_no_top5() -> None:
    few = Accuracy("d", classification(0.9, None), None, classification(0.9, None))
    text = words(replace(REPORT, accuracy=few))
    assert "top-5" not in text
    assert "before repair" not in text


# ---------------------------------------------------------------- warnings
def test_a_good_run_warns_of_nothing() -> None:
    assert advice(REPORT) == ()


def test_a_result_with_more_parameters_warns() -> None:
    (told,) = advice(replace(REPORT, parameters=Change(35_736, 48_380)))
    assert "12,644 parameters more than the original" in told
    assert told.endswith("leave groups of such weights whole with --exclude")
    assert advice(replace(REPORT, parameters=Change(35_736, 35_736))) == ()


def test_warnings_say_what_to_do() -> None:
    assert REPORT.speed is not None
    assert REPORT.accuracy is not None
    slow = replace(REPORT, speed=replace(REPORT.speed, speedup=0.8))
    assert advice(slow) == (
        "the pruned model is 1.25x slower than the original: raise --ratio, or --round-to 16 or 32",
    )
    exact = replace(slow, settings={"round_to": 1})
    assert "leave out --round-to 1" in advice(exact)[0]
    noisy = replace(slow, speed=replace(REPORT.speed, speedup=0.8, before=latency(1, 2.0)))
    assert "measure again on a quiet machine" in advice(noisy)[0]
    fast = replace(REPORT, speed=replace(REPORT.speed, after=latency(1, 2.0)))
    assert advice(fast)[0].startswith("the latencies varied by more than half")
    fallen = replace(REPORT, accuracy=replace(REPORT.accuracy, after=classification(0.2345)))
    assert advice(fallen) == (f"top-1 fell by 70.0 points: lower --ratio, {FIND}",)
    undone = replace(fallen, repair=Repair("none", 16, 0))  # which was tried, and brought nothing
    assert advice(undone) == (f"top-1 fell by 70.0 points: lower --ratio, {FIND}",)
    bare = replace(undone, settings={**undone.settings, "recover": "none"})
    assert advice(bare) == (f"top-1 fell by 70.0 points: lower --ratio, repair it with --recover, {FIND}",)
    made_up = replace(fallen, repair=Repair("least squares on 256 procedural samples", 16, 16))
    assert "lower --ratio, give some 256 samples of your own with --calibrate" in advice(made_up)[0]
    own = replace(made_up, repair=Repair("least squares on 256 samples of a.npz", 16, 16))
    assert advice(own) == advice(replace(own, settings={"criterion": "obs"})) == advice(fallen)
    assert "leave the choice to --criterion obs" in advice(replace(own, settings={"criterion": "l2"}))[0]
    moved = replace(REPORT, accuracy=None, drift=Drift("noise", 2, (difference("a", 0.99), difference("b", 0.06))))
    (told,) = advice(moved)
    assert "(cosine 0.06): measure the accuracy with --eval, and lower --ratio" in told
    assert "warning" in words(replace(moved, warnings=advice(moved)))


@pytest.mark.parametrize(
    ("samples", "source", "told"),
    [
        (1, "1 sample of a.npz", "only one sample, which"),
        (31, "31 samples of a.npz", "only 31 samples, which"),
        (32, "32 samples of a.npz", None),
        (16, "16 procedural samples", None),  # so few because the network is large
        (0, "mean of removed channels", None),
    ],
)
def test_a_repair_on_few_samples_warns(samples: int, source: str, told: str | None) -> None:
    repaired = replace(REPORT, repair=Repair(f"least squares on {source}", 16, 16, samples=samples))
    assert [told in line for line in advice(repaired) if told] == ([True] if told else [])
    assert len(advice(repaired)) == (told is not None)


HOLDING = Holding(
    "--ratio", 0.3, "agreement", 0.97, 0.871, 32, "32 of 128 samples of a.npz", False,
    (HeldTrial(0.3, 0.7, 0.5, 0.871, 0.8, False), HeldTrial(0.18, 0.82, 0.66, 0.992, 0.96, True)), 0.18, None, "",
)  # fmt: skip  # one line a topic


def test_a_network_that_is_more_fragile_than_its_ratio() -> None:
    fallen = replace(REPORT, accuracy=None, drift=Drift("x", 2, (difference("a", 0.1),)), holding=HOLDING)
    assert advice(fallen) == (
        "--ratio 0.3 goes too far for this network: agreement 0.871 on 32 of 128 samples of a.npz (of use from 0.97 "
        "on); --ratio 0.18 would hold (0.992 there, and in nine cases of ten at least 0.960 on others), "
        f"{FIND}",
    )

    def told(**changes: object) -> str:
        (text,) = advice(replace(fallen, holding=replace(HOLDING, holds=None, **changes)))  # type: ignore[arg-type]  # fields by name
        return text.split("; ")[1].removesuffix(f", {FIND}")

    may = "--ratio 0.1 may hold, which is foretold and was not tried: a try takes about 90 s"
    assert told(foretold=0.1, why="a try takes about 90 s", trials=()) == may
    assert told(foretold=0.1, why="a try takes about 90 s", trials=HOLDING.trials[:1]) == may
    assert told(foretold=0.1, why="a try takes about 90 s") == f"--ratio 0.18 does not hold either, {may}"
    assert told() == "--ratio 0.18 does not hold either, and nothing less can be cut"
    assert told(trials=()) == "less does not hold either, and nothing less can be cut"


def test_figures_that_are_not_numbers() -> None:
    drift = Drift("noise", 2, (Difference("y", "float32", math.inf, math.inf, 0.0, -math.inf, None),))
    assert "cosine 0.0000, -inf dB" in words(replace(REPORT, drift=drift))


@pytest.mark.parametrize(
    ("name", "width", "lines"),
    [
        ("conv1.weight", 20, ["conv1.weight"]),
        ("layers.0.attention.weight", 12, ["layers.0.", "  attention.", "  weight"]),
        ("/a/b/c", 20, ["/a/b/c"]),
        ("onnx::Conv_1234", 12, ["onnx::", "  Conv_1234"]),
        ("a.query_projection_weight", 12, ["a.query_", "  projection_", "  weight"]),
        ("", 20, [""]),
    ],
)
def test_names_are_folded_where_they_have_joints(name: str, width: int, lines: list[str]) -> None:
    assert fold(name, width).split("\n") == lines
    assert "".join(line.strip() for line in lines) == name
