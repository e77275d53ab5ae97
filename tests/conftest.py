"""A profile for long runs of the property tests: `pytest tests/test_property.py --hypothesis-profile=thorough`."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("thorough", max_examples=5000, deadline=None, derandomize=False)
