"""The page of a run: it says all that the report holds, loads nothing, and takes no orders from a model's names."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.evaluate.drift import Drift
from onnx_attnprune.evaluate.equivalence import Difference
from onnx_attnprune.report import (
    GroupRow,
    HeldTrial,
    Histogram,
    Holding,
    KeptRow,
    Report,
    Search,
    TimedTrial,
    Timing,
    Trial,
    check_reports,
    report_text,
)
from onnx_attnprune.report.page import build, extras, page
from tests.report.page.reading import Document, faults
from tests.report.test_latencies import ROWS, SPLIT, TOOK_NONE, WORSE
from tests.report.test_terminal import REPORT, difference

BINS = Histogram((0, 1, 4, 7), (3, 5, 1, 0), 0.375, 2)
SEARCH = Search(
    0.01, "top-1", 1000, 0.001,
    (Trial(0.5, 0.6, 0.03, 0.04, 0.01), Trial(0.75, 0.8, 0.004, 0.012, 0.008), Trial(0.8, 0.85, 0.002, 0.003, 0.001)),
    2,
)  # fmt: skip  # one line a topic
TIMING = Timing(0.5, "cpu", (TimedTrial(0.6, 0.7, 0.55), TimedTrial(0.4, 0.5, 0.48, 0.47)), 1)
HOLDING = Holding(
    "--ratio", 0.3, "agreement", 0.97, 0.871, 32, "32 of 128 samples of data.npz", True,
    (HeldTrial(0.3, 0.7, 0.5, 0.871, 0.8, False), HeldTrial(0.18, 0.82, 0.66, 0.992, 0.96, True)), 0.18, None, "",
)  # fmt: skip  # one line a topic
FULL = replace(
    REPORT, holding=HOLDING, search=SEARCH, timing=TIMING, bench=ROWS, phone=WORSE, sha256="ab" * 32,
    versions={"onnx": "9.8.7"}, notes=("a note",), warnings=("a warning",),
    settings={"criterion": "l2", "ratio": None, "layer_ratios": (("a.*", 0.5),), "shapes": {"x": [1, 3]}},
    groups=(*(replace(g, scores=BINS) for g in REPORT.groups), *(GroupRow(f"g{k}", 10 + k, 5 + k, 1) for k in range(9)),
            GroupRow("whole", 7, 7, 2, BINS)),
)  # fmt: skip  # one line a topic
HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(1)>{{ 7 * 191 }}{% raw %}&amp;</style></svg>\u202e"""


def rows(text: str) -> list[str]:
    """The rows of all tables, their cells set apart by bars."""
    found = []
    for part in text.split("<tr")[1:]:
        cells = part.split(">", 1)[1].split("</tr>")[0].replace("</td>", "|").replace("</th>", "|")
        found.append("|".join(Document(cell).text for cell in cells.split("|")[:-1]))
    return found


def test_it_has_every_part_and_no_fault() -> None:
    text = page(FULL)
    assert faults(text) == []
    for part in (
        "Pruning report: in.onnx",
        "Self-check passed: the pruned model computed what the original computes with the removed channels silenced, "
        "on random inputs (2x3x224x224); off by at most 2.5e-01 of the largest value (limit 1e-03).",
        "Warning a warning",
        "Notes a note",
        "12 channel groups, 424 of 608 channels kept.",
        "Search: top-1 may drop by 1.00 points",
        "With --ratio 0.3 the agreement is 0.871 on 32 of 128 samples of data.npz, less than the 0.97 of a network "
        "that still is of use: --ratio 0.18 would hold (0.992 there, and in nine cases of ten at least 0.960 on "
        "others). The samples are made up: on real ones it may be otherwise.",
        "Search: at most 50.0% of the latency on cpu",
        "fed with x 1x3x224x224. In the median round the pruned model is 2.00 times as fast on cpu, 2.00 times as "
        "fast on openvino.",
        f"Not measured on xnnpack: fell back: {TOOK_NONE} openvino leaves operators of the pruned model to the CPU: "
        "TopK",
        "Changed 1 Split node more that NNAPI does not take",
        "1 Split: its parts are not equal, for example halves",
        "on 64 samples of data.npz",
        "Method: mean. It could mend 12 of 16 consumers of removed channels.",
        "Seconds of each stage, 3.00 in all.",
        "onnx-attnprune in.onnx out.onnx",
        f"From in.onnx (SHA-256 {'ab' * 32}) to out.onnx.",
        "3,072 → 2,160 channels, cut at 0.375",
    ):
        assert part in Document(text).text, part
    found = rows(text)
    for row in (
        "parameters|25,557,032|12,345,678|-51.7 %",
        "latency, cpu|14.2 ms ±5%|7.1 ms ±5%|2.00x faster",
        "before repair||20.00%|-73.45 points",
        "stem.conv|64|48|75%|0.375|5",
        "g0|10|5|50%|-|1",
        "2|75.0%|80.0%|+0.0040|+0.0120|not sure",
        "3|80.0%|85.0%|+0.0020|+0.0030|taken",
        "0.3|70.0%|50.0%|0.871|0.800|too little",
        "0.18|82.0%|66.0%|0.992|0.960|holds",
        "1|60.0%|70.0%|55.0%|-|too slow",
        "2|40.0%|50.0%|48.0%|47.0%|taken",
        "latency, openvino|9.9 ms ±5%|4.95 ms ±5%|2.00x faster",
        "cpu|pruned|7.1|7.1|7.1|±5%|100|51.2 ms|18.6 MB|40 of 40",
        "openvino|original|9.9|9.9|9.9|±5%|100|51.2 ms|18.6 MB|39 of 40",
        "xnnpack|pruned|fell back|-|-|-|-|44 ms|-|0 of 40",
        "original|yes|40 of 40|1|15 of 16",
        "pruned|measure it|39 of 40|2|15 of 16",
        "logits|0.9800|12.5|0.5|95.3%",
        "graph output|-|2|20|fc.weight axis 0",
        "accuracy|2.00",
        "onnx|9.8.7",
        "ratio|not set",
        "layer_ratios|a.*, 0.5",
        "shapes|x=1x3",
    ):
        assert row in found, row


def test_nothing_is_fetched_and_nothing_runs() -> None:
    text = page(FULL)
    policy = next(a for a in Document(text).all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'; style-src 'unsafe-inline';")
    assert "http:" not in text
    assert "https:" not in text


def hostile(report: Report) -> Report:
    """The report with every name and every sentence in it replaced by what wants out of its place."""
    return replace(
        report, model=f"dir/{HOSTILE}", output=HOSTILE, command=HOSTILE, versions={HOSTILE: HOSTILE},
        settings={HOSTILE: HOSTILE, "criterion": HOSTILE}, notes=(HOSTILE,), warnings=(HOSTILE,), sha256=HOSTILE,
        shapes={HOSTILE: (1, 2)}, groups=tuple(replace(g, name=HOSTILE) for g in report.groups),
        kept=(KeptRow(HOSTILE, HOSTILE, 1, 2, HOSTILE, HOSTILE),),
        self_check=replace(report.self_check, inputs=HOSTILE),  # type: ignore[type-var]  # it is there
        drift=Drift(HOSTILE, 64, (difference(HOSTILE),)),
        speed=replace(report.speed, provider=HOSTILE, shapes={HOSTILE: (1,)}),  # type: ignore[type-var]  # as above
        accuracy=replace(report.accuracy, data=HOSTILE),  # type: ignore[type-var]  # as above
        repair=replace(report.repair, method=HOSTILE, notes=(HOSTILE,)),  # type: ignore[type-var]  # as above
        stages=tuple(replace(s, name=HOSTILE) for s in report.stages),
        # Only providers that are known are drawn: the first is left as it is, so that there is a drawing.
        bench=tuple(
            replace(row, provider=row.provider if k < 2 else HOSTILE, model=HOSTILE, reason=HOSTILE)
            for k, row in enumerate(report.bench)
        ),
        phone=replace(
            WORSE, after=replace(WORSE.after, obstacles=(replace(SPLIT, op=HOSTILE, why=HOSTILE, example=HOSTILE),)),
            changes=(HOSTILE,),
        ),
        holding=replace(HOLDING, option=HOSTILE, measure=HOSTILE, on=HOSTILE, holds=None, foretold=0.1, why=HOSTILE),
        search=replace(SEARCH, measure=HOSTILE), timing=replace(TIMING, provider=HOSTILE),
    )  # fmt: skip  # one line a topic


def test_names_can_not_leave_their_place() -> None:
    changed = hostile(FULL)
    counts = {"model", "output", "search", "self_check", "drift", "speed", "accuracy", "repair", "stages", "groups"}
    untouched = {f.name for f in fields(Report) if getattr(changed, f.name) == getattr(FULL, f.name)}
    assert untouched == {"channels", "parameters", "macs", "size"} | (untouched & counts)
    text = page(changed)
    assert faults(text) == []
    assert text.count("<style>") == 1
    assert HOSTILE.split("\u202e")[0] in Document(text).text
    assert "1337" not in text  # 7 * 191: nobody took the name for a template
    assert len(Document(text).elements) >= len(Document(page(FULL)).elements) - 60  # nothing was swallowed


def test_a_name_that_is_no_text() -> None:
    assert "\\udcff" in page(replace(FULL, model="\udcff.onnx"))


def test_a_run_on_one_provider() -> None:
    text = page(replace(FULL, bench=()))
    assert faults(text) == []
    assert "cpu|pruned|7.1|7.1|7.1|±5%|100" in rows(text)
    assert "peak memory" not in text


def test_a_provider_that_fell_back_is_no_headline() -> None:
    cards = page(FULL).split('<dl class="cards">')[1].split("</dl>")[0]
    assert "latency, openvino" in cards
    assert "xnnpack" not in cards


def test_a_dry_run() -> None:
    dry = replace(
        FULL,
        output=None,
        size=None,
        self_check=None,
        drift=None,
        speed=None,
        accuracy=None,
        repair=None,
        search=None,
        holding=None,
        timing=None,
        bench=(),
        phone=None,
    )
    text = page(dry)
    assert faults(text) == []
    assert "Dry run: no model was cut, checked or written." in Document(text).text
    for part in ("latency", "top-1", "NNAPI", "Drift", "Repair", "Search", "What would hold", " to out.onnx"):
        assert part not in Document(text).text


def test_a_run_without_labels_shows_the_drift_first() -> None:
    text = Document(page(replace(FULL, accuracy=None))).text
    assert "likeness of the outputs (cosine) 0.9800" in text


def test_figures_that_are_not_numbers() -> None:
    drift = Drift("noise", 2, (Difference("y", "float32", math.inf, math.inf, 0.0, -math.inf, None),))
    assert "y|0.0000|-inf|inf|-" in rows(page(replace(FULL, drift=drift)))


def test_groups_come_in_every_order() -> None:
    text = page(FULL)
    orders = [part.split("</tbody>")[0] for part in text.split("<tbody data-order=")[1:]]
    names = [[row.split("|")[0] for row in rows(order)] for order in orders]
    assert len(orders) == 3
    given = [g.name for g in FULL.groups]
    assert names[2] == given
    assert sorted(names[0]) == sorted(names[1]) == sorted(given)
    assert names[0][:2] == [REPORT.groups[0].name, "stem.conv"]
    assert names[1][0] == "g0"
    assert names[1][-1] == "whole"
    for order in ("largest", "cut", "model"):  # what the reader chooses is what the style sheet knows
        assert f'id="order-{order}"' in text
        assert f'data-order="{order}"' in text
    assert text.count('class="whole"') == 3


def test_few_groups_need_no_orders() -> None:
    text = page(REPORT)
    assert faults(text) == []
    assert text.count("<tbody data-order=") == 1
    assert Document(text).all("input") == []


def test_a_large_model_stays_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MOST_HISTOGRAMS", 9)
    many = tuple(GroupRow(f"layer.{k}", 512, 256, 4, BINS) for k in range(300))
    text = page(replace(FULL, groups=many))
    assert faults(text) == []
    assert Document(text).text.count("cut at 0.375") == 9
    assert "3 more groups" in text
    assert len(rows(text)) > 900  # all groups, in three orders
    assert 'class="tall" tabindex="0" role="region"' in text
    assert len(text) < 1_000_000


def test_drawings_say_what_they_show() -> None:
    said = [a["aria-label"] for _, a in Document(page(FULL)).elements if a.get("role") == "img"]
    assert said.pop() == (
        "Median latency: original on cpu 14.2 ms; pruned on cpu 7.1 ms; original on openvino 9.9 ms; pruned on "
        "openvino 4.95 ms"
    )
    assert said[0] == (
        "Scores from 0 to 1: 2,160 channels stay, 912 go; those below 0.375 go; 2 went in an earlier stage and have no "
        "score"
    )
    assert said[-1] == (
        "Share of the latency that is left on cpu against the share of MACs, for 2 choices; the line is the limit of "
        "50.0%. Choice 2 is taken: 40.0% of the MACs, 48.0% of the latency."
    )
    assert said[-2] == (
        "Drop of top-1 against the share of MACs that is left, for 3 choices; the line is the limit of 1.00%. Choice 3 "
        "is taken: 80.0% of the MACs, a drop of +0.20%."
    )


# ---------------------------------------------------------------- forms of a report
def test_endings_decide() -> None:
    assert report_text(FULL, Path("r.JSON")).startswith("{")
    assert report_text(FULL, Path("r.html")).startswith("<!DOCTYPE html>")
    check_reports([Path("a.json"), Path("b.HTML")])
    with pytest.raises(SettingsError, match=r"--report r.txt: the name must end in .json or .html"):
        check_reports([Path("a.json"), Path("r.txt")])


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "PACKAGES", {"jinja2": "Jinja2", "not_there_at_all": "not-there"})
    check_reports([Path("a.json")])
    with pytest.raises(SettingsError, match=r"--report b.html: a page needs not-there: pip install 'onnx-attn"):
        check_reports([Path("b.html")])
