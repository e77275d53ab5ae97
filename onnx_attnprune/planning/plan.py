"""The plan: what is removed where, as a file that can be compared, edited and replayed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_attnprune.errors import PlanError
from onnx_attnprune.grouping import Analysis, Kept

FORMAT, VERSION = "onnx-attnprune/plan", 1


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """One channel group in a plan: `removed` are indices below `size`; `scores` one per channel, or empty."""

    id: int
    name: str
    size: int
    removed: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which channels go, for one model (by the hash of its file)."""

    sha256: str
    settings: Mapping[str, Any]
    groups: tuple[PlannedGroup, ...]
    notes: tuple[str, ...] = ()

    @property
    def removed(self) -> dict[int, tuple[int, ...]]:
        """Removed channels by group id, groups that stay whole left out."""
        return {g.id: g.removed for g in self.groups if g.removed}


def to_json(plan: Plan, analysis: Analysis, initializers: Mapping[str, Any], uses: list[dict[str, Any]]) -> str:
    """A plan as the text of a plan file. `initializers`, `uses`: what the surgery removes from which tensor."""
    slots = {
        g.id: [{"tensor": m.slot.tensor, "axis": m.axis, "role": m.role} for m in g.members] for g in analysis.groups
    }
    document = {
        "format": FORMAT,
        "version": VERSION,
        "model": {"sha256": plan.sha256},
        "settings": dict(plan.settings),
        "groups": [
            {"id": g.id, "name": g.name, "size": g.size, "removed": list(g.removed),
             "scores": [round(s, 6) for s in g.scores], "slots": slots[g.id]}
            for g in plan.groups
        ],
        "initializers": initializers,
        "uses": uses,
        "kept": [_kept(k) for k in analysis.kept],
    }  # fmt: skip  # the order of the file
    return _lines(document)


def _kept(k: Kept) -> dict[str, Any]:
    return {"tensor": k.tensor, "axis": k.axis, "node": k.node, "op": k.op, "why": k.why}


def _lines(document: dict[str, Any]) -> str:
    """JSON with one group, tensor or kept axis a line, so that two plans can be compared line by line."""
    out = []
    for key, value in document.items():
        head = f" {json.dumps(key)}: "
        if isinstance(value, list) and value:
            out.append(head + "[\n" + ",\n".join(f"  {json.dumps(v)}" for v in value) + "\n ]")
        elif isinstance(value, dict) and key == "initializers" and value:
            rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            out.append(head + "{\n" + rows + "\n }")
        else:
            out.append(head + json.dumps(value))
    return "{\n" + ",\n".join(out) + "\n}\n"


def read_plan(path: str | Path, analysis: Analysis, sha256: str) -> Plan:
    """The plan of a file, checked against the model that it is to be replayed on.

    The groups' `removed` decide; the sections derived from them are not read. Raises PlanError.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{path}: can't be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise PlanError(f"{path}: not a plan file (no JSON)") from None
    try:
        return _checked(document, analysis, sha256, path)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise PlanError(f"{path}: not a plan file ({type(error).__name__}: {error})") from None


def _checked(document: Any, analysis: Analysis, sha256: str, path: Path) -> Plan:
    if document["format"] != FORMAT or document["version"] != VERSION:
        raise PlanError(f"{path}: not a plan of {FORMAT} version {VERSION}")
    if document["model"]["sha256"] != sha256:
        raise PlanError(f"{path}: made for another model (sha256 {document['model']['sha256'][:12]}…, not {sha256[:12]}…)")
    groups = []
    for entry in document["groups"]:
        number, removed = entry["id"], tuple(sorted(entry["removed"]))
        if not isinstance(number, int) or not 0 <= number < len(analysis.groups):
            raise PlanError(f"{path}: group {number!r} is not one of the model's {len(analysis.groups)}")
        own = analysis.groups[number]
        if (own.name, own.size) != (entry["name"], entry["size"]):
            raise PlanError(
                f"{path}: group {number} is {entry['name']!r} of {entry['size']} channels there, "
                f"{own.name!r} of {own.size} here"
            )
        if not all(isinstance(i, int) and 0 <= i < own.size for i in removed) or len(set(removed)) < len(removed):
            raise PlanError(f"{path}: group {own.name!r} removes channels that are not distinct numbers below {own.size}")
        if len(removed) == own.size:
            raise PlanError(f"{path}: group {own.name!r} would lose all of its {own.size} channels")
        groups.append(PlannedGroup(number, own.name, own.size, removed, tuple(entry.get("scores", ()))))
    if len({g.id for g in groups}) < len(groups):
        raise PlanError(f"{path}: a group stands there twice")
    if not any(g.removed for g in groups):
        raise PlanError(f"{path}: removes nothing")
    return Plan(sha256, document.get("settings", {}), tuple(groups))
