"""Random networks, random masks: pruned is masked.

A few dozen on every run, always the same; thousands of new ones with
`python -m pytest tests/test_property.py --hypothesis-profile=thorough`.
"""

from __future__ import annotations

import onnx
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from onnx import ModelProto

from tests.networks import networks
from tests.oracle import Runner, analyzed, check_shapes, default_shapes, feeds_of, pruned_as_masked

THOROUGH = settings().max_examples > 1000  # the profile that tests/conftest.py registers


@settings(
    max_examples=settings().max_examples if THOROUGH else 40, deadline=None, derandomize=not THOROUGH,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip  # settings
@given(model=networks(), seed=st.integers(0, 999))
def test_pruned_is_masked(model: ModelProto, seed: int) -> None:
    onnx.checker.check_model(model, full_check=True)
    analysis, shapes = analyzed(model), default_shapes(model)
    note(onnx.printer.to_text(model.graph))
    runner, feeds = Runner(model), feeds_of(model, shapes, seed)
    check_shapes(analysis, runner, feeds)
    if analysis.groups:
        pruned_as_masked(analysis, seed % 4, runner, feeds, 1e-3)
