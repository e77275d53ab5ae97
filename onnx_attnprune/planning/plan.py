"""The plan: what is removed where, as a file that can be compared, edited and replayed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_attnprune.errors import PlanError
from onnx_attnprune.grouping import Analysis, Kept
from onnx_attnprune.planning.select import emptied
from onnx_attnprune.planning.settings import DEPLOYS

FORMAT, VERSION = "onnx-attnprune/plan", 1


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """One channel group in a plan: `removed` are indices below `size`; `scores` one per channel (-inf for
    one that an earlier stage removed), or empty."""

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
             "scores": [_figure(s) for s in g.scores], "slots": slots[g.id]}
            for g in plan.groups
        ],
        "initializers": initializers,
        "uses": uses,
        "kept": [_kept(k) for k in analysis.kept],
    }  # fmt: skip  # the order of the file
    return _lines(document)


def _figure(score: float) -> float | None:
    """A score for the file: null for one that was removed in an earlier stage, which has none."""
    return round(score, 6) if math.isfinite(score) else None


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


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan file as it was read, before it is held against a model.

    shapes: the input sizes that its model was analysed with, by input name (none in a plan that does not say). deploy:
    what the result is to run on, which the analysis has to heed too.
    """

    path: Path
    document: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    deploy: str | None = None

    @property
    def alike(self) -> tuple[str, ...]:
        """Operators whose results keep one shape where they have one."""
        return DEPLOYS[self.deploy] if self.deploy is not None else ()

    def check_model(self, sha256: str) -> None:
        """Raise PlanError where the plan was made for a model file with another hash."""
        try:
            own = str(self.document["model"]["sha256"])
        except (KeyError, TypeError):
            raise PlanError(f"{self.path}: not a plan file (it names no model)") from None
        if own != sha256:
            raise PlanError(f"{self.path}: made for another model (sha256 {own[:12]}…, not {sha256[:12]}…)")

    def checked(self, analysis: Analysis, sha256: str) -> Plan:
        """The plan, checked against the model that it is to be replayed on.

        The groups' `removed` decide, and groups may be left out; the sections derived from them are not read. Raises
        PlanError.
        """
        self.check_model(sha256)
        try:
            return _checked(self.document, analysis, sha256, self.path)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise PlanError(f"{self.path}: not a plan file ({type(error).__name__}: {error})") from None


def read_plan(path: str | Path) -> PlanFile:
    """Read a plan file. Raises PlanError for what is none."""
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{path}: can't be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise PlanError(f"{path}: not a plan file (no JSON)") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("version") != VERSION:
        raise PlanError(f"{path}: not a plan of {FORMAT} version {VERSION}")
    try:
        stated = document.get("settings", {}).get("shapes", {})
        shapes = {str(name): tuple(int(size) for size in shape) for name, shape in stated.items()}
    except (TypeError, AttributeError, ValueError, OverflowError):
        raise PlanError(f"{path}: not a plan file (its settings are damaged)") from None
    deploy = document.get("settings", {}).get("deploy")
    if deploy is not None and deploy not in list(DEPLOYS):  # it may be of a type that is no key
        raise PlanError(f"{path}: for {deploy!r}, which is not one of {', '.join(DEPLOYS)}")
    return PlanFile(path, document, shapes, deploy)


def _checked(document: Mapping[str, Any], analysis: Analysis, sha256: str, path: Path) -> Plan:
    groups = tuple(_group(entry, analysis, path) for entry in document["groups"])
    if len({g.id for g in groups}) < len(groups):
        raise PlanError(f"{path}: a group stands there twice")
    plan = Plan(sha256, dict(document.get("settings", {})), groups)
    if not plan.removed:
        raise PlanError(f"{path}: removes nothing")
    if bare := emptied(analysis, plan.removed):
        names = ", ".join(analysis.groups[k].name for k in sorted(bare))
        raise PlanError(f"{path}: would leave a tensor without any channel (groups {names})")
    return plan


def _group(entry: Mapping[str, Any], analysis: Analysis, path: Path) -> PlannedGroup:
    number, removed = entry["id"], tuple(entry["removed"])
    if not _is_index(number, len(analysis.groups)):
        raise PlanError(f"{path}: group {number!r} is not one of the model's {len(analysis.groups)}")
    own = analysis.groups[number]
    if (own.name, own.size) != (entry["name"], entry["size"]):
        raise PlanError(
            f"{path}: group {number} is {entry['name']!r} of {entry['size']} channels there, "
            f"{own.name!r} of {own.size} here"
        )
    if not all(_is_index(i, own.size) for i in removed) or len(set(removed)) < len(removed):
        raise PlanError(f"{path}: group {own.name!r} removes channels that are not distinct numbers below {own.size}")
    if len(removed) == own.size:
        raise PlanError(f"{path}: group {own.name!r} would lose all of its {own.size} channels")
    return PlannedGroup(number, own.name, own.size, tuple(sorted(removed)), _scores(entry))


def _is_index(value: Any, size: int) -> bool:
    # true and false are integers to Python, but not in a plan
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size


def _scores(entry: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(-math.inf if s is None else float(s) for s in entry.get("scores", ()))
