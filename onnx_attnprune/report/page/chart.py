"""Charts as SVG, drawn by Vega-Lite while the page is made; the only door to vl-convert.

Colours are variables of the page's style sheet, so that a chart is light or dark as the page is. A chart is as wide as
a phone and grows with its place. No name of a model goes into a chart: its text is what stands in this package.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

Spec = dict[str, Any]
WIDTH = 250  # pixels of the plot; with its axis it fits into a phone of 360
_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
# Needless within HTML: namespaces, and roles of parts within what is an image with a text to its readers.
_NEEDLESS = re.compile(r' (?:xmlns|xmlns:xlink|role|aria-roledescription)="[^"]*"')
_CONFIG: Spec = {
    "aria": False, "mark": {"aria": False},  # the page says what a chart shows
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--ink)", "titleColor": "var(--ink)", "gridColor": "var(--line)", "tickColor": "var(--line)",
        "domainColor": "var(--soft)", "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
    },
}  # fmt: skip  # one line a topic


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, and what it says in words."""

    svg: str
    alt: str


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a scatter chart; `kind` decides its colour, `label` stands beside it."""

    x: float
    y: float
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Scatter:
    """Points over two axes. kinds: their colours. line: corners of a line through some; level: a horizontal line."""

    x: str
    y: str
    points: Sequence[Point]
    kinds: dict[str, str]
    x_format: str = "%"
    y_format: str = "%"
    line: Sequence[tuple[float, float]] = ()
    level: float | None = None


def scatter(given: Scatter, alt: str) -> Chart:
    """A chart of labelled points."""
    x = {"field": "x", "type": "quantitative", "title": given.x, "scale": {"zero": False, "nice": True, "padding": 14},
         "axis": {"format": given.x_format, "tickCount": 5}}  # fmt: skip  # one line a topic
    y = {"field": "y", "type": "quantitative", "title": given.y, "scale": {"zero": False, "nice": True, "padding": 14},
         "axis": {"format": given.y_format, "tickCount": 5}}  # fmt: skip  # as above
    colour = {"field": "kind", "type": "nominal", "legend": None,
              "scale": {"domain": list(given.kinds), "range": list(given.kinds.values())}}  # fmt: skip  # one object
    layers: list[Spec] = []
    if given.line:
        corners = [{"x": x, "y": y, "k": k} for k, (x, y) in enumerate(given.line)]
        layers.append({
            "data": {"values": corners},
            "mark": {"type": "line", "color": "var(--soft)", "strokeDash": [4, 3], "interpolate": "step-after"},
            "encoding": {"x": x, "y": y, "order": {"field": "k"}},
        })  # fmt: skip  # an object
    if given.level is not None:
        layers.append({
            "data": {"values": [{"y": given.level}]},
            "mark": {"type": "rule", "color": "var(--gone)", "strokeDash": [6, 3]},
            "encoding": {"y": y},
        })  # fmt: skip  # an object
    layers.append({"mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                   "encoding": {"x": x, "y": y, "color": colour}})  # fmt: skip  # an object
    layers.append({
        "mark": {"type": "text", "dy": -11, "fontSize": 12, "color": "var(--ink)"},
        "encoding": {"x": x, "y": y, "text": {"field": "label", "type": "nominal"}},
    })  # fmt: skip  # an object
    points = [{"x": p.x, "y": p.y, "kind": p.kind, "label": p.label} for p in given.points]
    return Chart(_draw({"data": {"values": points}, "height": 210, "layer": layers}), alt)


@dataclass(frozen=True, slots=True)
class Bar:
    """One horizontal bar: in the group `group`, of the kind that decides its colour, with what stands at its end."""

    group: str
    kind: str
    value: float
    label: str


def bars(given: Sequence[Bar], kinds: dict[str, str], title: str, alt: str) -> Chart:
    """Bars from zero on, those of a group together; kinds: their colours, in the order within a group."""
    groups, names = list(dict.fromkeys(bar.group for bar in given)), list(kinds)
    y = {"field": "group", "type": "nominal", "title": None, "sort": groups,
         "scale": {"paddingInner": 0.3}, "axis": {"ticks": False, "domain": False}}  # fmt: skip  # one object
    offset = {"field": "kind", "type": "nominal", "sort": names, "scale": {"domain": names, "paddingInner": 0.12}}
    # Room to the right of the longest bar for its label.
    x = {"field": "value", "type": "quantitative", "title": title, "axis": {"tickCount": 4},
         "scale": {"domainMin": 0, "domainMax": 1.25 * max(bar.value for bar in given)}}  # fmt: skip  # one object
    colour = {
        "field": "kind",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": names, "range": [*kinds.values()]},
    }
    layers: list[Spec] = [
        {"mark": {"type": "bar"}, "encoding": {"color": colour}},
        {"mark": {"type": "text", "align": "left", "dx": 4, "fontSize": 12, "color": "var(--ink)"},
         "encoding": {"text": {"field": "label", "type": "nominal"}}},
    ]  # fmt: skip  # one layer a topic
    values = [{"group": b.group, "kind": b.kind, "value": b.value, "label": b.label} for b in given]
    # The names of groups may be wider in the reader's font than in the one that they are measured with here.
    padding = {"left": 16, "top": 4, "right": 4, "bottom": 4}
    spec = {
        "data": {"values": values},
        "height": {"step": 20},
        "padding": padding,
        "encoding": {"x": x, "y": y, "yOffset": offset},
    }
    return Chart(_draw({**spec, "layer": layers}), alt)


def histogram(kept: Sequence[int], removed: Sequence[int], cut: float | None, alt: str) -> Chart:
    """How many channels score what on the scale of 0 to 1, those that go and those that stay, and the line between."""
    vega = copy.deepcopy(_histogram())
    data = {source["name"]: source for source in vega["data"]}
    step = 1 / len(kept)
    data["bins"]["values"] = [
        {"low": k * step, "high": (k + 1) * step, "channels": count, "kind": kind}
        for kind, counts in (("removed", removed), ("kept", kept))
        for k, count in enumerate(counts)
        if count
    ]
    data["cut"]["values"] = [] if cut is None else [{"at": cut}]
    import vl_convert

    return Chart(_inline(vl_convert.vega_to_svg(vega)), alt)


@cache
def _histogram() -> Spec:
    """The chart of scores without its data, compiled once: there may be one for every group."""
    x = {"type": "quantitative", "title": "score", "scale": {"domain": [0, 1]}, "axis": {"tickCount": 5, "grid": False}}
    spec: Spec = {
        "height": 70,
        "datasets": {"bins": [{"low": 0, "high": 1, "channels": 1, "kind": "kept"}], "cut": [{"at": 0.5}]},
        "layer": [
            {"data": {"name": "bins"}, "mark": {"type": "bar", "binSpacing": 1},
             "encoding": {
                 "x": {**x, "field": "low", "bin": {"binned": True}}, "x2": {"field": "high"},
                 "y": {"field": "channels", "type": "quantitative", "title": "channels",
                       "axis": {"tickCount": 3, "tickMinStep": 1}},
                 "color": {"field": "kind", "type": "nominal", "legend": None,
                           "scale": {"domain": ["kept", "removed"], "range": ["var(--kept)", "var(--gone)"]}}}},
            {"data": {"name": "cut"}, "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 2},
             "encoding": {"x": {**x, "field": "at"}}},
        ],
    }  # fmt: skip  # one line a topic
    import vl_convert

    found: Spec = vl_convert.vegalite_to_vega(_whole(spec))
    return found


def standalone(spec: Spec) -> str:
    """A drawing in black on white that is a file of its own, as SVG text."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg({"$schema": _SCHEMA, "background": "white", "padding": 10, **spec}))


def _draw(spec: Spec) -> str:
    import vl_convert

    return _inline(vl_convert.vegalite_to_svg(_whole(spec)))


def _whole(spec: Spec) -> Spec:
    return {"$schema": _SCHEMA, "width": WIDTH, "background": None, "padding": 4, "config": _CONFIG, **spec}


def _inline(svg: str) -> str:
    return _NEEDLESS.sub("", svg)
