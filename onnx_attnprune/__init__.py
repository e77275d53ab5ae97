"""Structured pruning of trained ONNX networks, without a training framework."""

__version__ = "0.1.0"
