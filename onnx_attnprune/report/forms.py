"""The forms of a report on disk, by the ending of the file's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.report.device import DeviceRun
from onnx_attnprune.report.jsontext import to_json
from onnx_attnprune.report.model import Report
from onnx_attnprune.report.page import device_page, page, require

REPORTS: Mapping[str, Callable[[Report], str]] = MappingProxyType({".json": to_json, ".html": page})
ON_PHONES: Mapping[str, Callable[[DeviceRun], str]] = MappingProxyType({".json": to_json, ".html": device_page})


def check_reports(paths: Sequence[Path]) -> None:
    """Refuse, before any work is done, endings that no form has, and pages that this installation can't make.

    Raises SettingsError.
    """
    for path in paths:
        if path.suffix.lower() not in REPORTS:
            raise SettingsError(f"--report {path}: the name must end in {' or '.join(REPORTS)}")
        if path.suffix.lower() == ".html":
            require(f"--report {path}")


def report_text(report: Report, path: Path) -> str:
    """The report in the form that the file's name asks for."""
    return REPORTS[path.suffix.lower()](report)


def device_text(run: DeviceRun, path: Path) -> str:
    """A run on a phone in the form that the file's name asks for."""
    return ON_PHONES[path.suffix.lower()](run)
