"""The command line."""

from onnx_attnprune.cli.command import main

__all__ = ["main"]
