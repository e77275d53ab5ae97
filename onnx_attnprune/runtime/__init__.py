"""The only door to ONNX Runtime: which providers there are, sessions, where nodes run, and what the kernels like.

ONNX Runtime is imported inside the functions that need it, because the import alone costs 0.2 s of CPU and
`onnx-attnprune --help` must not pay for it.
"""

from onnx_attnprune.runtime.placement import PlacedSession, Placement
from onnx_attnprune.runtime.profiling import Kernel, kernels_of
from onnx_attnprune.runtime.providers import (
    PROVIDERS,
    available_providers,
    block_of_cpu,
    preferred_multiple,
    resolve_provider,
    version,
)
from onnx_attnprune.runtime.session import Optimisation, Session, check_threads

__all__ = [
    "PROVIDERS",
    "Kernel",
    "Optimisation",
    "PlacedSession",
    "Placement",
    "Session",
    "available_providers",
    "block_of_cpu",
    "check_threads",
    "kernels_of",
    "preferred_multiple",
    "resolve_provider",
    "version",
]
