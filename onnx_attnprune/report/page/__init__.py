"""The report as a page: one HTML document that needs nothing else, no network and no script."""

from onnx_attnprune.report.page.build import page
from onnx_attnprune.report.page.device import device_page
from onnx_attnprune.report.page.extras import require

__all__ = ["device_page", "page", "require"]
