"""The only door to adb: finding a phone, copying to it, and running ONNX Runtime's own test tools there."""

from onnx_attnprune.phone.adb import TEMPORARY, Adb, Answer, connected
from onnx_attnprune.phone.told import Measured, measured_of, outputs_fault, placed_on
from onnx_attnprune.phone.workplace import PERF_TEST, TEST_RUNNER, TOOLS, Phone, Workplace, phone_of

__all__ = [
    "PERF_TEST", "TEMPORARY", "TEST_RUNNER", "TOOLS", "Adb", "Answer", "Measured", "Phone", "Workplace", "connected",
    "measured_of", "outputs_fault", "phone_of", "placed_on",
]  # fmt: skip  # one list
