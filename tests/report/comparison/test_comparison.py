"""Reports held against each other: read with care, ranked by what none beats, shown in every form."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from onnx_attnprune.errors import DataError, ReportError, SettingsError
from onnx_attnprune.evaluate.measure import Accuracy, Drift
from onnx_attnprune.report import Report, to_json
from onnx_attnprune.report.comparison import Comparison, Point, compare, page, read_report, render
from onnx_attnprune.report.comparison.build import front
from tests.report.page.reading import Document, faults
from tests.report.page.test_build import FULL, HOSTILE, rows
from tests.report.test_terminal import classification, difference


def written(folder: Path, name: str, report: Report = FULL, **changes: Any) -> Path:
    """A report file; `changes` replace or join its fields as they stand in the file."""
    path = folder / name
    path.write_text(json.dumps({**json.loads(to_json(report)), **changes}))
    return path


def run_of(macs: int, top1: float, speedup: float = 2.0, **changes: Any) -> Report:
    """A report of a model with so many of 100 MACs left, and of this accuracy."""
    assert FULL.speed is not None
    return replace(
        FULL, macs=replace(FULL.macs, before=100, after=macs), speed=replace(FULL.speed, speedup=speedup),
        accuracy=Accuracy("dir/data.npz", classification(0.9), None, classification(top1)),
        **changes,
    )  # fmt: skip  # one line a topic


@pytest.fixture
def found(tmp_path: Path) -> Comparison:
    """Three runs: the second is beaten by MACs and by bytes, the third is a dry run."""
    gentle = written(tmp_path, "a.json", run_of(60, 0.88, settings={"ratio": 0.2, "seed": 0}))
    bad = written(tmp_path, "b.json", run_of(70, 0.5, 4.0, settings={"ratio": 0.4, "seed": 0}))
    dry = written(tmp_path, "c.json", run_of(20, 0.1, settings={"ratio": 0.4, "seed": 0}),
                  output=None, size=None, speed=None, accuracy=None, drift=None)  # fmt: skip  # two lines
    return compare([read_report(p) for p in (gentle, bad, dry)])


def shown(found: Comparison, width: int = 100) -> str:
    out = io.StringIO()
    render(found, Console(file=out, width=width, highlight=False))
    return out.getvalue()


# ---------------------------------------------------------------- the front
def test_the_front_is_what_nobody_beats() -> None:
    points = [Point(0, 1.0, 0.9), Point(1, 0.5, 0.9), Point(2, 0.5, 0.8), Point(3, 0.4, 0.8), Point(4, 0.6, 0.95)]
    assert [p.run for p in front(points)] == [3, 1, 4]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_against_its_definition(places: list[tuple[int, int]]) -> None:
    points = [Point(k, float(cost), float(quality)) for k, (cost, quality) in enumerate(places)]
    best = front(points)
    for point in points:
        beaten = any(
            other.cost <= point.cost and other.quality >= point.quality
            and (other.cost < point.cost or other.quality > point.quality)
            for other in points
        )  # fmt: skip  # the definition
        assert beaten == ((point.cost, point.quality) not in {(p.cost, p.quality) for p in best})


# ---------------------------------------------------------------- what is compared
def test_runs_side_by_side(found: Comparison) -> None:
    assert (found.measure, found.original, found.qualities) == ("top-1 on data.npz", 0.9, (0.88, 0.5, None))
    assert [f.cost for f in found.fronts] == ["MACs", "bytes", "latency"]
    assert [found.best_for(k) for k in range(4)] == [
        ("MACs", "bytes", "latency"), ("MACs", "bytes", "latency"), ("latency",), (),
    ]  # fmt: skip  # one list
    assert found.differing == {"ratio": (0.2, 0.4, 0.4)}
    assert len(found.notes) == 1
    assert found.notes[0].endswith("c.json: not measured (a dry run)")
    assert found.runs[1].latency == 0.25
    assert found.runs[0].macs == 0.6


def test_without_the_same_accuracy_the_likeness_counts(tmp_path: Path) -> None:
    drift = Drift("noise", 2, (difference("y", 0.99), difference("z", 0.7)))
    bare = replace(FULL, accuracy=None, drift=drift)
    other = replace(run_of(60, 0.8), drift=replace(drift, outputs=(difference("y", 0.97),)))
    found = compare([read_report(written(tmp_path, n, r)) for n, r in (("a.json", bare), ("b.json", other))])
    assert (found.measure, found.original, found.qualities) == ("cosine of the outputs on noise", 1.0, (0.7, 0.97))
    assert found.notes == (
        "accuracy was not measured by all, or not on the same data: the outputs' likeness is compared",
    )
    assert found.quality_text(0.7) == "0.7000"


def test_nothing_in_common_is_said(tmp_path: Path) -> None:
    one = replace(FULL, accuracy=None)
    two = replace(one, drift=Drift("other data", 64, (difference("y"),)), shapes={"x": (1, 3, 32, 32)})
    found = compare([read_report(written(tmp_path, n, r)) for n, r in (("a.json", one), ("b.json", two))])
    assert (found.measure, found.fronts) == ("", ())
    assert "no measure of quality" in found.notes[0]
    assert found.notes[1] == "the reports count MACs at different input shapes: shares of them are compared"
    assert faults(page(found)) == []
    assert "best by" in shown(found)


@pytest.mark.parametrize(
    ("figures", "measure", "values"),
    [
        ({"n": 9, "mae": 1.0, "rmse": 2.0, "r2": 0.5}, "R2 on d", 0.5),
        ({"n": 9, "values": {"dice": 0.75, "iou": 0.5}}, "dice on d", 0.75),
    ],
)
def test_other_figures_than_shares(tmp_path: Path, figures: dict[str, Any], measure: str, values: float) -> None:
    accuracy = {"data": "d", "before": figures, "unrepaired": None, "after": figures}
    files = [written(tmp_path, name, accuracy=accuracy) for name in ("a.json", "b.json")]
    found = compare([read_report(path) for path in files])
    assert (found.measure, found.qualities, found.shares) == (measure, (values, values), False)


# ---------------------------------------------------------------- what is refused
def test_fields_of_the_future_are_ignored(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", new={"field": [1]}, macs={"before": 4, "after": 3, "watts": 2})
    assert read_report(path).macs == 0.75


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": "onnx-attnprune/plan"}, "not a report of format onnx-attnprune/report"),
        ({"version": 2}, "a report of version 2; this release reads 1"),
        ({"macs": None}, "a damaged report (TypeError"),
        ({"macs": {}}, "a damaged report (KeyError"),
        ({"speed": {"speedup": 0}}, "a damaged report (ZeroDivisionError"),
        ({"settings": 3}, "a damaged report (TypeError"),
        ({"accuracy": {"data": "d", "before": {"values": {}}, "after": {}}}, "a damaged report (StopIteration"),
    ],
)
def test_what_is_no_report(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    path = written(tmp_path, "a.json", **changes)
    with pytest.raises(ReportError) as caught:
        read_report(path)
    assert str(caught.value).startswith(f"{path}: {told}")
    assert isinstance(caught.value, DataError)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b"[1]", b"[" * 100_000])
def test_what_is_no_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ReportError, match="not a report"):
        read_report(path)
    with pytest.raises(ReportError, match="can't be read: No such file"):
        read_report(tmp_path / "none.json")


def test_other_models_are_refused(tmp_path: Path) -> None:
    one = read_report(written(tmp_path, "a.json"))
    with pytest.raises(ReportError, match=r"b.json: a report on another model than .*a.json \(sha256 cdcdcdcdcdcd"):
        compare([one, read_report(written(tmp_path, "b.json", sha256="cd" * 32))])
    old = written(tmp_path, "c.json", sha256="", channels={"before": 609, "after": 424})
    with pytest.raises(ReportError, match="25,557,032 parameters and 609 channels, not 25,557,032 and 608"):
        compare([one, read_report(old)])
    assert compare([one, replace(read_report(old), identity=one.identity)]).notes == ()
    with pytest.raises(SettingsError, match="two reports or more"):
        compare([one])


# ---------------------------------------------------------------- how it is shown
@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal(found: Comparison, width: int) -> None:
    text = shown(found, width)
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    words = " ".join(text.split())
    for part in ("best by MACs: run 1, the original", "by latency: run 2, run 1, the original", "differing ratio"):
        assert part in words


def test_the_page(found: Comparison) -> None:
    text = page(found)
    assert faults(text) == []
    assert "http:" not in text
    assert "https:" not in text
    lines = [row.split("|") for row in rows(text)]
    assert ["0", "original", "100%", "100%", "100%", "100%", "90.00%", "MACs, bytes, latency"] in lines
    assert [line[2:] for line in lines if line[0] == "3"] == [["20.0%", "48.3%", "-", "-", "-", "-"]]
    assert ["ratio", "0.2", "0.4", "0.4"] in lines
    said = [a["aria-label"] for _, a in Document(text).elements if a.get("role") == "img"]
    assert said[0] == (
        "Quality against MACs for 3 models. No other beats run 1 (60.0% of the MACs, 88.00%), the original (100.0% of "
        "the MACs, 90.00%)."
    )


def test_names_can_not_leave_their_place(found: Comparison) -> None:
    runs = tuple(replace(r, path=HOSTILE, model=HOSTILE, command=HOSTILE, sha256=HOSTILE) for r in found.runs)
    bad = replace(found, runs=runs, measure=HOSTILE, notes=(HOSTILE,), differing={HOSTILE: (HOSTILE, 1, 2)})
    text = page(bad)
    assert faults(text) == []
    assert len(Document(text).elements) == len(Document(page(found)).elements)
    assert HOSTILE.split("\u202e")[0] in Document(text).text


def test_json(found: Comparison) -> None:
    document = json.loads(to_json(found))
    assert (document["format"], document["version"]) == ("onnx-attnprune/comparison", 1)
    assert document["fronts"][0]["best"] == [
        {"run": 1, "cost": 0.6, "quality": 0.88},
        {"run": 0, "cost": 1.0, "quality": 0.9},
    ]
    assert document["runs"][2]["size"] is None
