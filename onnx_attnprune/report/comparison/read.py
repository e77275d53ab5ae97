"""Reports as they are read again: what a comparison needs of them, and nothing of what it does not know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx_attnprune.errors import ReportError
from onnx_attnprune.report.comparison.model import Quality, Run
from onnx_attnprune.report.model import FORMAT, VERSION


def read_report(path: Path) -> Run:
    """Read a report file of `--report F.json`; fields that are not known here are ignored. Raises ReportError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: can't be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ReportError(f"{path}: not a report (no JSON); compare takes the files of --report F.json") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ReportError(f"{path}: not a report of format {FORMAT}")
    if document.get("version") != VERSION:
        raise ReportError(f"{path}: a report of version {document.get('version')!r}; this release reads {VERSION}")
    try:
        return _run(document, path)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, StopIteration) as error:
        raise ReportError(f"{path}: a damaged report ({type(error).__name__}: {error})") from None


def _run(document: Mapping[str, Any], path: Path) -> Run:
    speed = document.get("speed")
    return Run(
        path=str(path),
        model=str(document["model"]),
        sha256=str(document.get("sha256", "")),
        identity=tuple(int(document[name]["before"]) for name in ("parameters", "channels")),
        shapes=dict(document.get("shapes", {})),
        command=str(document.get("command", "")),
        settings=dict(document.get("settings", {})),
        macs=_left(document["macs"]),
        parameters=_left(document["parameters"]),
        size=None if document.get("size") is None else _left(document["size"]),
        latency=None if speed is None else 1 / float(speed["speedup"]),
        latency_ms=None if speed is None else float(speed["after"]["median_ms"]),
        accuracy=_accuracy(document.get("accuracy")),
        likeness=_likeness(document.get("drift")),
    )


def _left(change: Mapping[str, Any]) -> float:
    return int(change["after"]) / int(change["before"]) if change["before"] else 1.0


def _accuracy(given: Mapping[str, Any] | None) -> Quality | None:
    """The figure that counts most: top-1, R2, or the first of a metric of the user's own."""
    if given is None:
        return None
    before, after = given["before"], given["after"]
    if "values" in before:
        measure = str(next(iter(before["values"])))
        before, after, key = {**before, **before["values"]}, after["values"], measure
    else:
        measure, key = ("top-1", "top1") if "top1" in before else ("R2", "r2")
    if before[key] is None or after[key] is None:  # not finite
        return None
    return Quality(measure, Path(given["data"]).name, int(before["n"]), float(before[key]), float(after[key]))


def _likeness(drift: Mapping[str, Any] | None) -> Quality | None:
    """The cosine of the output that moved furthest."""
    if drift is None or not drift["outputs"]:
        return None
    worst = min(float(output["cosine"]) for output in drift["outputs"])
    return Quality("cosine of the outputs", str(drift["inputs"]), int(drift["samples"]), 1.0, worst)
