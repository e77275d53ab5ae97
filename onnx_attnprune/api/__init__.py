"""What Python programs call: the commands as functions, on paths, bytes or models in memory.

Everything here is offered by the package itself: `from onnx_attnprune import prune`. Keywords are called like the flags
of the commands and mean the same.
"""

from onnx_attnprune.api.looking import bench, inspect, sensitivity, verify
from onnx_attnprune.api.models import ModelSource
from onnx_attnprune.api.phones import device_bundle, device_check, device_run
from onnx_attnprune.api.pruning import prune, prune_request
from onnx_attnprune.api.result import Result
from onnx_attnprune.evaluate.loading import DataSource
from onnx_attnprune.evaluate.own import MetricFunction
from onnx_attnprune.report import Report
from onnx_attnprune.report.bench import Bench
from onnx_attnprune.report.device import BundleReport, DeviceRun
from onnx_attnprune.report.inspection import Inspection
from onnx_attnprune.report.sensitivity import Sensitivity
from onnx_attnprune.report.usability import UsabilityReport
from onnx_attnprune.report.verification import Verification

__all__ = [
    "Bench", "BundleReport", "DataSource", "DeviceRun", "Inspection", "MetricFunction", "ModelSource", "Report",
    "Result", "Sensitivity", "UsabilityReport", "Verification", "bench", "device_bundle", "device_check", "device_run",
    "inspect", "prune", "prune_request", "sensitivity", "verify",
]  # fmt: skip  # one list
