"""What ONNX Runtime's tools print, read back."""

from __future__ import annotations

import json

import pytest

from onnx_attnprune.errors import ToolError
from onnx_attnprune.phone import Answer, Measured, measured_of, outputs_fault, placed_on

RESULT = """result: 
\tModels: 1
\tTotal test cases: {total}
\t\tSucceeded: {passed}
\t\tNot implemented: 0
\t\tFailed: {failed}
{why}\tStats by Operator type:
\t\tNot implemented(0): 
\t\tFailed:
Failed Test Cases:
"""  # noqa: W291 - as it is printed
PERF = """Session creation time cost: 0.0123 s
First inference time cost: 4 ms
Total inference requests: 2
Avg CPU usage: 97 %
Peak working set size: 34574336 bytes
"""
TABLE = "pruned,0.00125,34574336,97,0\npruned,1.5e-05,34574336,97,1\n\nMin Latency: 1.5e-05 s\nMax Latency: 0.00125 s\n"


def result(total: int, passed: int, why: str = "", code: int = 0) -> Answer:
    return Answer(RESULT.format(total=total, passed=passed, failed=total - passed, why=why), code)


# ---------------------------------------------------------------- onnx_test_runner
def test_right_outputs() -> None:
    assert outputs_fault("t", result(3, 3)) == ""


def test_wrong_outputs() -> None:
    told = outputs_fault("t", result(3, 1, "\t\t\tResult differs: 2\n", 255))
    assert told == "its outputs are not those computed here, in 2 of 3 samples"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (result(3, 0, "\t\t\tGot exception while loading model: 3\n", 255), "the model can't be loaded: 3 of 3 test"),
        (result(3, 2, "\t\t\tGot exception while running: 1\n", 255), "it does not run: 1 of 3 test cases fail"),
        (result(0, 0), "nothing that can be read"),
        (result(3, 3, code=139), "it crashed (segmentation fault)"),
        (Answer("Unsupported model IR version: 13, max supported IR version: 10", 255), "Runtime is too old for it"),
        (Answer("NNAPI is not supported in this build", 255), "built without NNAPI (build.sh --use_nnapi)"),
    ],
)  # fmt: skip  # a line each
def test_nothing_compared(answer: Answer, told: str) -> None:
    with pytest.raises(ToolError) as error:
        outputs_fault("onnx_test_runner", answer)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- onnxruntime_perf_test
def test_times_and_figures() -> None:
    found = measured_of("p", Answer(PERF, 0), TABLE, 2)
    assert found == Measured((0.00125, 1.5e-05), 0.0123, 34574336)


def test_figures_that_an_older_tool_does_not_print() -> None:
    assert measured_of("p", Answer("", 0), TABLE, 2) == Measured((0.00125, 1.5e-05), None, None)


@pytest.mark.parametrize(
    ("answer", "table", "told"),
    [
        (Answer(PERF, 0), TABLE[:30], r"1 of 2 times .*pruned,0.00125,34574336,97,0"),
        (Answer(PERF, 0), "cat: times.csv: No such file", "0 of 2 times .*No such file"),
        (Answer(PERF, 0), "", r"0 of 2 times \(it begins with: nothing\)"),
        (Answer(PERF, 0), "p,0,1,1,0\np,1,1,1,1\n", "times that can't be: 0 to 1 s"),
        (Answer(PERF, 0), "p,1e999,1,1,0\np,1,1,1,1\n", "times that can't be"),
        (Answer("Run failed: std::bad_alloc", 255), TABLE, "memory does not suffice"),
        (Answer("first\n\x1b[31mhm\x00\n\n", 3), "", r"nothing that can be read \(exit code 3\): \[31mhm$"),
        (Answer("y" * 500, 3), "", ": y{40}…y{79}$"),
    ],
)
def test_no_times(answer: Answer, table: str, told: str) -> None:
    with pytest.raises(ToolError, match=told):
        measured_of("p", answer, table, 2)


# ---------------------------------------------------------------- the profile
def event(name: str, provider: str, op: str) -> dict[str, object]:
    return {"cat": "Node", "name": name, "args": {"provider": provider, "op_name": op}}


def test_where_nodes_ran_counts_each_once() -> None:
    events = [{**event("c", "CPUExecutionProvider", "Add"), "cat": "Api"}, {"cat": "Node", "name": "fence", "args": {}},
              event("a", "NnapiExecutionProvider", "NNAPI_1"), event("b", "CPUExecutionProvider", "Erf"),
              event("a", "NnapiExecutionProvider", "NNAPI_1")]  # fmt: skip  # a list
    told = placed_on("p", Answer("", 0), json.dumps(events))
    assert told == [("NnapiExecutionProvider", "NNAPI_1"), ("CPUExecutionProvider", "Erf")]


@pytest.mark.parametrize("text", ["", "[]", "{}", "[1]", "cat: profile*.json: No such file", '[{"cat": "Node"}]'])
def test_no_profile(text: str) -> None:
    with pytest.raises(ToolError, match="nothing says where the nodes ran"):
        placed_on("p", Answer("", 0), text)
