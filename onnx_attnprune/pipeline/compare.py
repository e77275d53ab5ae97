"""Reports of several runs, compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.report import check_outputs, write_text
from onnx_attnprune.report.comparison import Comparison, compare, page, read_report
from onnx_attnprune.report.page import require


def compare_files(reports: Sequence[Path], html: Path | None = None) -> Comparison:
    """Compare the runs of several report files; `html` is where to write the page. Raises a subclass of AttnPruneError.

    The page needs the extra `report`; whether it is there is looked at first.
    """
    for k, path in enumerate(reports):
        if path in reports[:k]:
            raise SettingsError(f"{path}: given twice")
    if html is not None:
        if html.suffix.lower() != ".html":
            raise SettingsError(f"--html {html}: the name must end in .html")
        require(f"--html {html}")
        check_outputs([html], reports)
    found = compare([read_report(path) for path in reports])
    if html is not None:
        write_text(page(found), html)
    return found
