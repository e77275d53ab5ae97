"""What a user can ask of a plan, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, Literal

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.grouping import Group

Scope = Literal["layer", "global"]
Heads = Literal["auto", "heads", "head-dims", "both", "none"]
SCOPES: tuple[Scope, ...] = ("layer", "global")
HEADS: tuple[Heads, ...] = ("auto", "heads", "head-dims", "both", "none")


@dataclass(frozen=True, slots=True)
class Settings:
    """How many channels go, and which may.

    Exactly one of ratio (share of the channels, 0 < ratio < 1), threshold (scores below it go, 0 to 1) and top_k
    (scores below the mean of the k best of their group go). scope: "layer" takes the ratio from every group, "global"
    from all channels ranked together. steps: the removal is spread over so many stages with fresh scores before each;
    a threshold counts on the scores of the first. round_to: kept counts are multiples of it (1: exact counts).
    min_channels: what a group keeps at least. max_ratio: what a group loses at most (None: 0.9 where the scores
    decide, else no bound but min_channels). layer_ratios: (pattern, ratio) pairs that override the ratio.
    attention: which factor goes where channels are products, as attention heads and group convolutions are.
    """

    ratio: float | None = 0.3
    threshold: float | None = None
    top_k: int | None = None
    criterion: str = "attention"
    scope: Scope = "layer"
    steps: int = 1
    round_to: int = 1
    min_channels: int = 1
    max_ratio: float | None = None
    attention: Heads = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    layer_ratios: tuple[tuple[str, float], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        given = [n for n in ("ratio", "threshold", "top_k") if getattr(self, n) is not None]
        if len(given) != 1:
            names = ", ".join("--" + n.replace("_", "-") for n in given) or "nothing"
            raise SettingsError(f"give one of --ratio, --threshold and --top-k (got {names})")
        for name, ratio in [("--ratio", self.ratio), *((f"--layer-ratio {p}", r) for p, r in self.layer_ratios)]:
            lowest_ok = ratio is None or (ratio > 0 if name == "--ratio" else ratio >= 0)
            if ratio is not None and (not math.isfinite(ratio) or not lowest_ok or ratio >= 1):
                raise SettingsError(f"{name} {ratio:g}: the share of channels to remove lies between 0 and 1")
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise SettingsError(f"--threshold {self.threshold:g}: scores lie between 0 and 1")
        if self.max_ratio is not None and not 0 < self.max_ratio < 1:
            raise SettingsError(f"--max-ratio {self.max_ratio:g}: the share of a group lies between 0 and 1")
        for name in ("top_k", "steps", "round_to", "min_channels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"--{name.replace('_', '-')} {value}: must be at least 1")
        if self.scope == "global" and self.ratio is None:
            raise SettingsError("--scope global ranks all channels together, which goes with --ratio only")
        for name, known in (("scope", SCOPES), ("attention", HEADS)):
            if getattr(self, name) not in known:
                raise SettingsError(f"--{name} {getattr(self, name)!r} is not one of {', '.join(known)}")

    @property
    def cap(self) -> float:
        """The largest share that a group may lose."""
        if self.max_ratio is not None:
            return self.max_ratio
        return 1.0 if self.ratio is not None and self.scope == "layer" else 0.9

    def as_dict(self) -> dict[str, Any]:
        """The settings by name, as they go into a plan file."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def names_of(group: Group) -> set[str]:
    """What patterns are matched against: the group's name, and the tensors and nodes that its channels lie in."""
    return {group.name, *(m.slot.tensor for m in group.members), *(m.slot.node.name for m in group.members)}


def matching(pattern: str, groups: Sequence[Group], option: str) -> set[int]:
    """Ids of the groups that a pattern (`*`, `?`, `[...]`) matches. Raises SettingsError where there is none."""
    # A name with brackets in it is also meant as it stands.
    found = {g.id for g in groups if any(n == pattern or fnmatchcase(n, pattern) for n in names_of(g))}
    if not found:
        some = ", ".join(g.name for g in groups[:5])
        raise SettingsError(f"{option} {pattern!r} matches no tensor or node of a channel group (such as {some})")
    return found
