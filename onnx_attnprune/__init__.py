"""Structured pruning of trained ONNX networks, without a training framework.

The names in `__all__` are the public interface, for programs; every other name and module may change. They are loaded
when they are first used, so that importing the package costs nothing.
"""

from typing import TYPE_CHECKING

from onnx_attnprune.errors import AttnPruneError

if TYPE_CHECKING:
    from onnx_attnprune.api import (
        Bench,
        BundleReport,
        DataSource,
        DeviceRun,
        Inspection,
        MetricFunction,
        ModelSource,
        Report,
        Result,
        Sensitivity,
        UsabilityReport,
        Verification,
        bench,
        device_bundle,
        device_check,
        device_run,
        inspect,
        prune,
        sensitivity,
        verify,
    )

__version__ = "0.1.0"

__all__ = [
    "AttnPruneError", "Bench", "BundleReport", "DataSource", "DeviceRun", "Inspection", "MetricFunction", "ModelSource",
    "Report", "Result", "Sensitivity", "UsabilityReport", "Verification", "__version__", "bench", "device_bundle",
    "device_check", "device_run", "errors", "inspect", "prune", "sensitivity", "verify",
]  # fmt: skip  # one list

if not TYPE_CHECKING:  # so that type checkers know no name but those above

    def __getattr__(name: str) -> object:
        """A public name, loaded now."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        found = getattr(import_module("onnx_attnprune.api"), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        """The public names."""
        return sorted(__all__)
