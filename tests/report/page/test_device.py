"""The page of a run on a phone: it says all that was measured, loads nothing, and takes no orders from any name."""

from __future__ import annotations

from dataclasses import replace

from onnx_attnprune.phone import Phone
from onnx_attnprune.report.bench import Bench
from onnx_attnprune.report.device import DeviceRun
from onnx_attnprune.report.page import device_page
from tests.report.page.reading import Document, faults
from tests.report.page.test_build import HOSTILE
from tests.report.test_latencies import ROWS

PHONE = Phone("R58M42", "Acme", "Anvil 9", "14", "34", "arm64-v8a")
RUN = DeviceRun(
    Bench("onnx-attnprune device run b", {"onnx": "9.8.7"}, 0, 1.5, ROWS), "b", PHONE, "1.22.0", 10, 20, False,
    "of d.npz", 3, "",
)  # fmt: skip  # two lines


def test_it_has_every_part_and_no_fault() -> None:
    text = device_page(RUN)
    assert faults(text) == []
    words = Document(text).text
    names = [row.model.rsplit("/", 1)[-1] for row in ROWS[:2]]
    for part in (
        f"{names[0]} and {names[1]} on Acme Anvil 9",
        "Outputs checked:",
        "on 3 samples (of d.npz)",
        "Acme Anvil 9, R58M42",
        "14 (API 34)",
        "1.22.0",
        "10, of 20 inferences each",
        "onnx-attnprune device run b",
        "9.8.7",
        *{row.provider for row in ROWS},
        *(f"{row.latency.median_ms:.3g}" for row in ROWS if row.latency is not None),
    ):
        assert part in words, part


def test_what_was_not_measured_is_told_at_the_top() -> None:
    measured = sum(row.outcome == "measured" for row in ROWS)
    assert measured < len(ROWS)
    words = " ".join(Document(device_page(RUN)).text.split())
    assert f"{len(ROWS) - measured} of {len(ROWS)} not measured; the notes say why." in words
    fine = replace(RUN, bench=replace(RUN.bench, rows=ROWS[:2]))
    assert all(row.outcome == "measured" for row in ROWS[:2])
    assert "not measured;" not in device_page(fine)


def test_what_nnapi_may_have_done_is_told() -> None:
    rows = tuple(replace(row, provider="nnapi") for row in ROWS[:2])
    run = replace(RUN, bench=replace(RUN.bench, rows=rows), left="/data/local/tmp/x is left on it")
    words = Document(device_page(run)).text
    assert "NNAPI may run on the phone's CPU what it takes" in words
    assert "on the phone /data/local/tmp/x is left on it" in words
    assert "NNAPI was kept off the phone's CPU" in Document(device_page(replace(run, accelerators_only=True))).text


def test_no_name_becomes_markup() -> None:
    rows = tuple(replace(row, model=HOSTILE, shapes={HOSTILE: (1, 2)}, reason=HOSTILE) for row in ROWS)
    bench = replace(RUN.bench, rows=rows, command=HOSTILE, versions={HOSTILE: HOSTILE})
    phone = Phone(*[HOSTILE] * 6)
    text = device_page(
        replace(RUN, bench=bench, phone=phone, bundle=HOSTILE, runtime=HOSTILE, inputs=HOSTILE, left=HOSTILE)
    )
    assert faults(text) == []
    assert "<script" not in text
    assert "<img" not in text
    assert str(7 * 191) not in text
