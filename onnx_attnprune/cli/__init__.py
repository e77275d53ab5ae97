"""The command line."""

from onnx_attnprune.cli.commands import main

__all__ = ["main"]
