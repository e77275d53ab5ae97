"""Curves as a person reads them: figures of two digits, and a chart that stays readable with many groups."""

from __future__ import annotations

import re

import pytest

from onnx_attnprune.report.sensitivity import GroupCurve, Sensitivity, chart
from onnx_attnprune.report.sensitivity.terminal import percent


def curves(groups: int) -> Sensitivity:
    """Groups of four channels, named after numbers."""
    found = tuple(
        GroupCurve(
            k, f"group{k:02}", 4, (0, 1, 2, 3), (0.0, 0.1, 0.2, 0.5, 1.0), (0.0, 1e-9, 0.02, 0.06, 2.0), ((2, 0.02),)
        )
        for k in range(groups)
    )
    return Sensitivity("dir/net.onnx", "ab", "obs", 0, {"x": (2, 3)}, "64 samples", "cd", 64, found, groups)


def test_errors_and_cuts_of_a_group() -> None:
    group = curves(1).groups[0]
    assert [group.error(share) for share in (0.1, 0.25, 0.5, 0.75)] == [0, 1e-9, 0.02, 0.06]
    assert [group.cut(limit) for limit in (0.0, 0.01, 0.05, 9.0)] == [0, 0.25, 0.5, 0.75]
    assert curves(1).as_dict()["groups"][0]["cuts"] == {"0.01": 0.25, "0.05": 0.5}


@pytest.mark.parametrize(
    ("error", "told"),
    [(0, "0.0%"), (2e-4, "< 0.1%"), (0.0123, "1.2%"), (0.0994, "9.9%"), (0.0996, "10%"), (2.5, "250%"), (40, "> 999%")],
)
def test_an_error_in_two_digits(error: float, told: str) -> None:
    assert percent(error) == told


@pytest.mark.parametrize(("groups", "named"), [(3, 3), (20, 20), (21, 0)])
def test_a_chart_names_groups_while_they_are_few(groups: int, named: int) -> None:
    pytest.importorskip("vl_convert")
    svg = chart(curves(groups))
    assert len(set(re.findall(r"group\d\d", svg))) == named
    assert len(re.findall('aria-roledescription="line mark"', svg)) == groups
    assert "net.onnx" in svg
    assert "dir/" not in svg
