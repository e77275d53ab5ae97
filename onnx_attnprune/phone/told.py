"""What ONNX Runtime's `onnxruntime_perf_test` and `onnx_test_runner` print and write, read back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from onnx_attnprune.errors import ToolError
from onnx_attnprune.phone.adb import Answer
from onnx_attnprune.phone.faults import RUNNING, SIGNALS, STARTING, brief, known

_MOST_MB = 1 << 40  # bytes; no phone has as much


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of each inference, seconds to create the session, and bytes that the process took at most."""

    seconds: tuple[float, ...]
    creation: float | None
    peak_bytes: int | None


def fault_of(tool: str, answer: Answer) -> ToolError:
    """Why a tool that did not do its work failed, as an error."""
    if answer.code in SIGNALS:
        return ToolError(f"{tool}: {SIGNALS[answer.code]}")
    why = known(answer.text, RUNNING)
    if why is not None:
        return ToolError(f"{tool}: {why}")
    why = known(answer.text, STARTING)
    if why is not None:
        return ToolError(f"{tool} {why}")
    text = brief(answer.text)
    return ToolError(f"{tool} gives nothing that can be read (exit code {answer.code}): {text or 'it prints nothing'}")


def outputs_fault(tool: str, answer: Answer) -> str:
    """How the outputs differ from the expected ones by what `onnx_test_runner` prints; empty where they are right.

    Raises ToolError where it compared nothing.
    """
    counts = {name: int(count) for name, count in re.findall(r"^\s*([A-Z][\w ]+): ?(\d+)$", answer.text, re.M)}
    total, passed, failed = (counts.get(name) for name in ("Total test cases", "Succeeded", "Failed"))
    if not total or passed is None or failed is None or answer.code in SIGNALS:
        raise fault_of(tool, answer)
    if passed == total:
        return ""
    differs = counts.get("Result differs", 0)
    if differs:
        return f"its outputs are not those computed here, in {differs} of {total} samples"
    why = known(answer.text, RUNNING)
    loading = counts.get("Got exception while loading model", 0)
    what = "the model can't be loaded" if loading else "it does not run"
    raise ToolError(f"{tool}: {what}: {why or f'{total - passed} of {total} test cases fail; adb logcat may say why'}")


def measured_of(tool: str, answer: Answer, table: str, runs: int) -> Measured:
    """The figures of `onnxruntime_perf_test`: what it prints, and the table of its inferences that it writes.

    runs: how many it was asked for. Raises ToolError where they are not there, or are no times.
    """
    if answer.code:
        raise fault_of(tool, answer)
    seconds = tuple(_times(table))
    if len(seconds) != runs:
        first = brief(table.splitlines()[0]) if table.strip() else "nothing"
        raise ToolError(f"{tool} wrote {len(seconds)} of {runs} times (it begins with: {first})")
    if not all(0 < s < math.inf for s in seconds):
        raise ToolError(f"{tool} wrote times that can't be: {min(seconds):g} to {max(seconds):g} s")
    creation = re.search(r"^Session creation time cost: ([\d.e+-]+) s", answer.text, re.M)
    peak = re.search(r"^Peak working set size: (\d+)", answer.text, re.M)
    return Measured(
        seconds,
        None if creation is None else float(creation[1]),
        int(peak[1]) if peak is not None and 0 < int(peak[1]) < _MOST_MB else None,
    )


def _times(table: str) -> Iterator[float]:
    """The second column of rows "model,seconds,memory,load,number"; blank lines and statistics are passed over."""
    for line in table.splitlines():
        found = re.fullmatch(r"[^,]*,([\d.e+-]+),\d+,-?\d+,\d+", line.strip())
        if found is not None:
            try:
                yield float(found[1])
            except ValueError:
                continue  # the caller counts the times


def placed_on(tool: str, answer: Answer, profile: str) -> list[tuple[str, str]]:
    """(ONNX Runtime's name of the provider, operator) of each node, by the profile that a run has written.

    Nodes that a provider has fused count as one. Raises ToolError where the run failed, or where it is no profile.
    """
    if answer.code:
        raise fault_of(tool, answer)
    try:
        events = json.loads(profile)
        found = {
            event["name"]: (str(event["args"]["provider"]), str(event["args"]["op_name"]))
            for event in events
            if event.get("cat") == "Node" and event.get("args", {}).get("provider")
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        found = {}
    if not found:
        raise ToolError(f"{tool} wrote no profile that can be read: nothing says where the nodes ran")
    return list(found.values())
