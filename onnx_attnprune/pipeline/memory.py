"""How much memory this process has taken."""

from __future__ import annotations

import sys


def peak_memory() -> int | None:
    """The most bytes of memory that the process has held at once; None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, others kibibytes
