"""What a look at a network found, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

FORMAT, VERSION = "onnx-attnprune/inspection", 1


@dataclass(frozen=True, slots=True)
class MemberRow:
    """An axis of a stored tensor that a group's channels lie on, and what it is to them."""

    tensor: str
    axis: int
    role: str


@dataclass(frozen=True, slots=True)
class GroupCost:
    """A channel group, and what it costs.

    within: where its channels are multiplied with others on an axis, the factors, outermost first, its own in brackets:
    "12 x [64]" is a width of 64 in each of 12 heads. parameters, macs: what goes with one channel (the last one), all
    others in place. spared: why a plan leaves it whole unless it is named ("" where it does not).
    """

    name: str
    size: int
    within: tuple[str, ...]
    members: tuple[MemberRow, ...]
    parameters: int
    macs: int
    spared: str = ""


def size_text(group: GroupCost) -> str:
    """How many channels, with the factors that they are multiplied with."""
    return group.within[0] if group.within else f"{group.size:,}"


@dataclass(frozen=True, slots=True)
class Share:
    """A count over the network, and how much of it can be cut.

    prunable: what stands in tensors (parameters) or in products of axes (MACs) with at least one axis that has channels
    of a group. A layer counts whole, so this is no promise of how much can go; but what lies outside of it can't lose
    anything at all. half: what is left when every group loses half of its channels (`--ratio 0.5 --round-to 1`).
    """

    all: int
    prunable: int
    half: int

    @property
    def share(self) -> float:
        """The prunable share (0.0 of nothing)."""
        return self.prunable / self.all if self.all else 0.0


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One reason for which axes are kept whole.

    hint: what would help ("" where nothing is known to). axes, channels: weight axes that it keeps, or parts of them
    where the rest can go, and their sizes added up; alone: how many of these no other reason keeps. parameters, macs:
    of tensors with an axis that it keeps whole, and of products of axes on which the channels of such an axis lie
    (several obstacles may hold the same ones). uncounted: nodes whose MACs nothing is known of. nodes: the nodes (or
    graph inputs and outputs) that say so; tensor, node: the largest tensor that is kept, or that a part is kept of
    where there is none, and what says so ("" where nothing is known of any).
    """

    why: str
    op: str
    hint: str
    axes: int
    alone: int
    channels: int
    parameters: int
    macs: int
    uncounted: int
    nodes: tuple[str, ...]
    tensor: str
    node: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What can be cut, what it costs, and what is in the way; the obstacles that hold most come first.

    MACs are those of one run at `shapes` (one sample, where the batch is free), without those of the nodes `uncounted`:
    how many read weights, but do something that nothing is known of.
    """

    model: str
    shapes: Mapping[str, tuple[int, ...]]
    parameters: Share
    macs: Share
    groups: tuple[GroupCost, ...]
    obstacles: tuple[Obstacle, ...]
    uncounted: int = 0

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain data for JSON, with its format and version."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}
