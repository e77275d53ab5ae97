"""The curves of all groups in one drawing, by Vega-Lite."""

from __future__ import annotations

from pathlib import Path

from onnx_attnprune.report.page.chart import Spec, standalone
from onnx_attnprune.report.sensitivity.model import LIMITS, Sensitivity

MOST_NAMED = 20  # groups, up to which each has a colour and a name beside the chart
FLOOR = 1e-5  # of the error: what is smaller is drawn here


def chart(found: Sensitivity) -> str:
    """An SVG drawing: the error at the outputs against the share of a group's channels that is gone.

    Where there are many groups, the colour tells how deep in the network a group lies, and no names are given.
    """
    rows = [
        {"group": g.name, "depth": g.id, "gone": k / g.size, "error": max(g.outputs[k], FLOOR)}
        for g in found.groups
        for k in range(1, g.size)
    ]
    points = [
        {"group": g.name, "depth": g.id, "gone": k / g.size, "error": max(error, FLOOR)}
        for g in found.groups
        for k, error in g.measured
    ]
    few = len(found.groups) <= MOST_NAMED
    names = [g.name for g in found.groups]
    colour: Spec = {"field": "depth", "type": "quantitative", "title": "group", "scale": {"scheme": "viridis"}}
    if few:
        scheme = "tableau10" if len(names) <= 10 else "tableau20"
        colour = {"field": "group", "type": "nominal", "title": "group", "sort": names, "scale": {"scheme": scheme},
                  "legend": {"labelLimit": 320, "symbolLimit": MOST_NAMED}}  # fmt: skip  # one object
    x = {"field": "gone", "type": "quantitative", "title": "channels gone", "axis": {"format": "%"},
         "scale": {"domain": [0, 1]}}  # fmt: skip  # one object
    y = {"field": "error", "type": "quantitative", "title": "error at the outputs, after repair",
         "scale": {"type": "log"}, "axis": {"format": "~%", "tickCount": 6}}  # fmt: skip  # one object
    encoding = {"x": x, "y": y, "color": colour}
    lines = {**encoding, "detail": {"field": "depth"}}
    levels = [{"error": limit} for limit in LIMITS]
    return standalone({
        "width": 560, "height": 340, "title": {"text": Path(found.model).name, "anchor": "start", "fontSize": 13},
        "layer": [
            {"data": {"values": levels}, "mark": {"type": "rule", "color": "#999", "strokeDash": [5, 4]},
             "encoding": {"y": y}},
            {"data": {"values": rows}, "mark": {"type": "line"}, "encoding": lines},
            {"data": {"values": points}, "mark": {"type": "point", "filled": True, "size": 36}, "encoding": encoding},
        ],
    })  # fmt: skip  # one layer a line
