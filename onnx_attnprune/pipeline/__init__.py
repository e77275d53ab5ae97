"""The steps of a run: each a function from frozen data to frozen data; `prune_file` strings them together."""

from onnx_attnprune.pipeline.bench import BenchRequest, bench_files, failure
from onnx_attnprune.pipeline.choice import make_plan, plan_text
from onnx_attnprune.pipeline.compare import compare_files
from onnx_attnprune.pipeline.inspect import inspect_file
from onnx_attnprune.pipeline.request import Request
from onnx_attnprune.pipeline.run import prune_file
from onnx_attnprune.pipeline.sensitivity import SensitivityRequest, sensitivity_file
from onnx_attnprune.pipeline.verify import verify_files
from onnx_attnprune.pipeline.verify_request import VerifyRequest

__all__ = [
    "BenchRequest", "Request", "SensitivityRequest", "VerifyRequest", "bench_files", "compare_files", "failure",
    "inspect_file", "make_plan", "plan_text", "prune_file", "sensitivity_file", "verify_files",
]  # fmt: skip  # a list of names
