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
from tests.oracle import Runner, analyzed, assert_shapes, default_shapes, feeds_of, pruned_as_masked
from tests.sequences import sequence_networks

THOROUGH = settings().max_examples > 1000  # the profile that tests/conftest.py registers
ATTEMPTS = 3  # with other inputs, where quantised numbers lie in the middle between two steps


def usual(examples: int) -> settings:
    """Settings for a test that has this many examples where it need not be thorough."""
    return settings(
        max_examples=settings().max_examples if THOROUGH else examples, deadline=None, derandomize=not THOROUGH,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip  # settings


@usual(40)
@given(model=networks(), seed=st.integers(0, 999))
def test_pruned_is_masked(model: ModelProto, seed: int) -> None:
    assert_cut_is_exact(model, seed)


@usual(40)
@given(model=sequence_networks(), seed=st.integers(0, 999))
def test_pruned_is_masked_over_sequences(model: ModelProto, seed: int) -> None:
    assert_cut_is_exact(model, seed)


def assert_cut_is_exact(model: ModelProto, seed: int) -> None:
    """Assert that a random cut is exact; a rounded number may fall to the other side for an input, but not for all."""
    onnx.checker.check_model(model, full_check=True)
    analysis, shapes = analyzed(model), default_shapes(model)
    note(onnx.printer.to_text(model.graph))
    runner = Runner(model)
    assert_shapes(analysis, runner, feeds_of(model, shapes, seed))
    attempts = ATTEMPTS if any("Quantize" in node.op_type for node in model.graph.node) else 1
    for attempt in range(attempts if analysis.groups else 0):
        try:
            pruned_as_masked(analysis, seed % 4, runner, feeds_of(model, shapes, seed + attempt), 1e-3)
            return
        except AssertionError as error:
            if attempt == attempts - 1 or "off by" not in str(error):
                raise
