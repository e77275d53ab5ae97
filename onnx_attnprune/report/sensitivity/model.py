"""What a measurement of sensitivity found, as frozen data and as the JSON that an interrupted one goes on from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from onnx_attnprune.errors import DataError, SettingsError
from onnx_attnprune.grouping import Group
from onnx_attnprune.recovery import Curve, widest_cut
from onnx_attnprune.report.jsontext import to_json

FORMAT, VERSION = "onnx-attnprune/sensitivity", 1
LIMITS = (0.01, 0.05)  # of the error, for which the largest cut is told


@dataclass(frozen=True, slots=True)
class GroupCurve:
    """One group: the order in which its channels go, and what it costs (see `recovery.Curve`)."""

    id: int
    name: str
    size: int
    order: tuple[int, ...]
    consumers: tuple[float, ...]
    outputs: tuple[float, ...]
    measured: tuple[tuple[int, float], ...]

    def error(self, share: float) -> float:
        """The error at the outputs with this share of the channels gone, rounded down to whole ones."""
        return self.outputs[int(self.size * share)]

    def cut(self, limit: float) -> float:
        """The largest share that can go while the error stays within a limit."""
        return widest_cut(self.outputs, limit) / self.size


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Ratios by group name that are meant to make an error of at most `limit` together.

    sum: what the errors of the single groups add up to. together: the error that was measured with all of them cut and
    repaired; None where nothing can go.
    """

    limit: float
    criterion: str
    ratios: Mapping[str, float]
    sum: float
    together: float | None

    @property
    def options(self) -> tuple[str, ...]:
        """What --layer-ratio takes, quoted for a shell where need be."""
        return tuple(shlex.quote(f"{name}={ratio:g}") for name, ratio in self.ratios.items())


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """All that was measured. samples: at the outputs. calibration: what the samples are; fingerprint: of their numbers.

    suggestion: None until every group is measured.
    """

    model: str
    sha256: str
    criterion: str
    seed: int
    shapes: Mapping[str, tuple[int, ...]]
    calibration: str
    fingerprint: str
    samples: int
    groups: tuple[GroupCurve, ...]
    total: int
    suggestion: Suggestion | None = None
    notes: tuple[str, ...] = ()
    command: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain data for JSON, with format and version, and the largest cuts for LIMITS."""
        groups = [{**asdict(g), "cuts": {f"{limit:g}": g.cut(limit) for limit in LIMITS}} for g in self.groups]
        return {"format": FORMAT, "version": VERSION, **asdict(self), "groups": groups}

    def text(self) -> str:
        """The JSON of a file."""
        return to_json(self)


# ---------------------------------------------------------------- taking up an interrupted measurement
_SAME = ("sha256", "criterion", "seed", "fingerprint", "samples", "total")  # what two measurements must share


def read_finished(path: Path, now: Sensitivity, groups: Sequence[Group]) -> tuple[GroupCurve, ...]:
    """The groups that a file holds of the same measurement as `now`; none where there is no file.

    Raises DataError for what is no such file, SettingsError for one of another measurement.
    """
    if not path.exists():
        return ()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if (document["format"], document["version"]) != (FORMAT, VERSION):
            raise ValueError
        stated = {name: document[name] for name in (*_SAME, "shapes")}
        found = tuple(_group(entry, groups) for entry in document["groups"])
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        raise DataError(f"{path}: not a file that a measurement of sensitivity has written") from None
    mine = {**{name: getattr(now, name) for name in _SAME}, "shapes": {n: list(s) for n, s in now.shapes.items()}}
    different = [name for name, value in stated.items() if value != mine[name]]
    if different:
        what = " and ".join(
            {"sha256": "the model", "fingerprint": "the samples", "samples": "their number"}.get(n, n)
            for n in different
        )
        raise SettingsError(f"{path}: --resume can't go on, {what} differ from what the file was measured with")
    return found


def _group(entry: Mapping[str, Any], groups: Sequence[Group]) -> GroupCurve:
    values = {f.name: entry[f.name] for f in fields(GroupCurve)}
    values |= {name: tuple(values[name]) for name in ("order", "consumers", "outputs")}
    found = GroupCurve(**{**values, "measured": tuple((int(k), float(e)) for k, e in values["measured"])})
    own = groups[found.id]
    whole = len(found.outputs) == len(found.consumers) == own.size + 1 and sorted(found.order) == list(range(own.size))
    if (found.name, found.size) != (own.name, own.size) or not whole:
        raise ValueError
    return found


def finished(group: Group, order: Sequence[int], curve: Curve) -> GroupCurve:
    """A group with what was measured of it."""
    return GroupCurve(group.id, group.name, group.size, tuple(order), curve.consumers, curve.outputs, curve.measured)
