"""What a user can ask of a plan, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.grouping import Group

Scope = Literal["layer", "global"]
Heads = Literal["auto", "heads", "head-dims", "both", "none"]
Streams = Literal["cut", "keep"]
Ties = Literal["keep", "cut"]
Cost = Literal["macs", "params", "bytes"]
MOST, TIMES = 0.9, 2.0  # that a group loses: of its channels, and of the ratio; deep cuts are the least well foretold
COSTS: tuple[Cost, ...] = ("macs", "params", "bytes")
MOST_STEPS = 1000
AMOUNTS = ("ratio", "threshold", "top_k", "target_macs", "target_params", "target_bytes", "target_latency", "max_drop")
SCOPES: tuple[Scope, ...] = ("layer", "global")
HEADS: tuple[Heads, ...] = ("auto", "heads", "head-dims", "both", "none")
STREAMS: tuple[Streams, ...] = ("cut", "keep")
TIES: tuple[Ties, ...] = ("keep", "cut")
# What the result is to run on, and the operators that it takes there only where all of their results have one shape:
# https://onnxruntime.ai/docs/execution-providers/NNAPI-ExecutionProvider.html#supported-ops
DEPLOYS: Mapping[str, tuple[str, ...]] = {"nnapi": ("Split",)}


@dataclass(frozen=True, slots=True)
class Settings:
    """How many channels go, and which may.

    Exactly one of ratio (share of the channels, 0 < ratio < 1), threshold (scores below it go, 0 to 1), top_k (scores
    below the mean of the k best of their group go), target_macs, target_params, target_bytes, target_latency (share
    that is left at most, 0 < share < 1) and max_drop (of accuracy, as a share; 0 is none). scope: "layer" takes the
    same ratio from every group, "global" takes it from all channels: ranked together, or with a criterion on samples
    by what the removal from each group costs the outputs, or, for a target or a drop, costs them and saves. steps: the
    removal is spread over so many stages with fresh scores before each; a threshold counts on the scores of the first.
    round_to: kept counts are multiples of it (1: exact counts).
    min_channels: what a group keeps at least. max_ratio: what a group loses at most (None: twice the ratio where it is
    taken from all channels, 0.9 with a budget, else no bound but min_channels). layer_ratios: (pattern, ratio) pairs
    that override the ratio.
    attention: which factor goes where channels are products, as attention heads and group convolutions are. streams:
    "keep" leaves residual streams whole, but for those that include or layer_ratios mean by their own names. ties:
    where rounding alone ranks most of what a network selects, "keep" leaves the groups whole whose removal changes how
    sums round; "cut" takes them, too. deploy: the execution provider whose demands the result has to meet (one of
    `DEPLOYS`).
    """

    ratio: float | None = 0.3
    threshold: float | None = None
    top_k: int | None = None
    target_macs: float | None = None
    target_params: float | None = None
    target_bytes: float | None = None
    target_latency: float | None = None
    max_drop: float | None = None
    criterion: str = "attention"
    scope: Scope = "layer"
    steps: int = 1
    round_to: int = 1
    min_channels: int = 1
    max_ratio: float | None = None
    attention: Heads = "auto"
    streams: Streams = "cut"
    ties: Ties = "keep"
    deploy: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    layer_ratios: tuple[tuple[str, float], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        given = [option(n) for n in AMOUNTS if getattr(self, n) is not None]
        if len(given) != 1:
            known = ", ".join(map(option, AMOUNTS[:-1]))
            raise SettingsError(f"give one of {known} and {option(AMOUNTS[-1])} (got {', '.join(given) or 'nothing'})")
        for name, ratio in [("--ratio", self.ratio), *((f"--layer-ratio {p}", r) for p, r in self.layer_ratios)]:
            lowest_ok = ratio is None or (ratio > 0 if name == "--ratio" else ratio >= 0)
            if ratio is not None and (not math.isfinite(ratio) or not lowest_ok or ratio >= 1):
                raise SettingsError(f"{name} {ratio:g}: the share of channels to remove lies between 0 and 1")
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise SettingsError(f"--threshold {self.threshold:g}: scores lie between 0 and 1")
        for name in (f"target_{cost}" for cost in (*COSTS, "latency")):
            share = getattr(self, name)
            if share is not None and not 0 < share < 1:
                raise SettingsError(f"{option(name)} {share:g}: the share that is left lies between 0 and 1")
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise SettingsError(f"--max-drop {self.max_drop:g}: a share of the samples, from 0 up to 1 (0.01: a point)")
        if self.max_ratio is not None and not 0 < self.max_ratio < 1:
            raise SettingsError(f"--max-ratio {self.max_ratio:g}: the share of a group lies between 0 and 1")
        for name, least in (("top_k", 1), ("steps", 1), ("round_to", 1), ("min_channels", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingsError(f"{option(name)} {value}: must be at least {least}")
        if self.steps > MOST_STEPS:
            raise SettingsError(f"--steps {self.steps}: {MOST_STEPS:,} at most; each scores the whole network anew")
        if self.scope == "global" and (self.threshold is not None or self.top_k is not None):
            raise SettingsError("--scope global is for a ratio or a budget, not for a threshold")
        choices: dict[str, tuple[str, ...]] = {"scope": SCOPES, "attention": HEADS, "streams": STREAMS, "ties": TIES}
        for setting, values in choices.items():
            if getattr(self, setting) not in values:
                raise SettingsError(f"--{setting} {getattr(self, setting)!r} is not one of {', '.join(values)}")
        if self.deploy is not None and self.deploy not in DEPLOYS:
            raise SettingsError(f"--deploy {self.deploy!r} is not one of {', '.join(DEPLOYS)}")

    @property
    def alike(self) -> tuple[str, ...]:
        """Operators whose results keep one shape where they have one."""
        return DEPLOYS[self.deploy] if self.deploy is not None else ()

    @property
    def cap(self) -> float:
        """The largest share that a group may lose."""
        if self.max_ratio is not None:
            return self.max_ratio
        if self.ratio is not None:
            return 1.0 if self.scope == "layer" else min(TIMES * self.ratio, MOST)
        return MOST

    @property
    def target(self) -> tuple[Cost, float] | None:
        """The cost that a budget limits, and the share of it that may be left; None without such a budget."""
        shares = {cost: getattr(self, f"target_{cost}") for cost in COSTS}
        return next(((cost, share) for cost, share in shares.items() if share is not None), None)

    def without_budget(self) -> Settings:
        """The same settings for a choice whose counts are decided otherwise (their ratio means nothing)."""
        nothing: dict[str, Any] = dict.fromkeys(AMOUNTS)
        return replace(self, **{**nothing, "ratio": 0.5})

    def as_dict(self) -> dict[str, Any]:
        """The settings by name, as they go into a plan file."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def option(name: str) -> str:
    """A setting as users give it."""
    return "--" + name.replace("_", "-")


def names_of(group: Group) -> set[str]:
    """What patterns are matched against: the group's name, and the tensors and nodes that its channels lie in."""
    return {group.name, *(m.slot.tensor for m in group.members), *(m.slot.node.name for m in group.members)}


def is_meant(pattern: str, name: str) -> bool:
    """True where a pattern matches a name, or is that name (which may have brackets in it)."""
    return name == pattern or fnmatchcase(name, pattern)


def matching(pattern: str, groups: Sequence[Group], option: str) -> set[int]:
    """Ids of the groups that a pattern (`*`, `?`, `[...]`) matches. Raises SettingsError where there is none."""
    found = {g.id for g in groups if any(is_meant(pattern, n) for n in names_of(g))}
    if not found:
        some = ", ".join(g.name for g in groups[:5])
        raise SettingsError(f"{option} {pattern!r} matches no tensor or node of a channel group (such as {some})")
    return found
