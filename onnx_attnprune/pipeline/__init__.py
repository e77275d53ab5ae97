"""The steps of a run: each a function from frozen data to frozen data; `prune_file` strings them together."""

from onnx_attnprune.pipeline.bench import BenchRequest, bench_files, failure
from onnx_attnprune.pipeline.bundle import BundleRequest, make_bundle
from onnx_attnprune.pipeline.choice import make_plan
from onnx_attnprune.pipeline.compare import compare_files
from onnx_attnprune.pipeline.device import DeviceRequest, device_failure, run_device
from onnx_attnprune.pipeline.inspect import inspect_file
from onnx_attnprune.pipeline.request import Request, WouldHold
from onnx_attnprune.pipeline.run import prune_file
from onnx_attnprune.pipeline.sensitivity import SensitivityRequest, sensitivity_file
from onnx_attnprune.pipeline.usability import check_usability
from onnx_attnprune.pipeline.verify import verify_files
from onnx_attnprune.pipeline.verify_request import VerifyRequest

__all__ = [
    "BenchRequest", "BundleRequest", "DeviceRequest", "Request", "SensitivityRequest", "VerifyRequest", "WouldHold",
    "bench_files", "check_usability", "compare_files", "device_failure", "failure", "inspect_file", "make_bundle",
    "make_plan", "prune_file", "run_device", "sensitivity_file", "verify_files",
]  # fmt: skip  # a list of names
