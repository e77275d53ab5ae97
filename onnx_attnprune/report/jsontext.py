"""The report as JSON; figures that are not finite become null, which JSON can hold."""

from __future__ import annotations

import json
import math
from typing import Any, Protocol


class Plain(Protocol):
    """What can be told as plain data."""

    def as_dict(self) -> dict[str, Any]: ...


def to_json(report: Plain) -> str:
    """The report as indented JSON text, ending in a newline."""
    return json.dumps(_plain(report.as_dict()), indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value
