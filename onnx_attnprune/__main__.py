"""`python -m onnx_attnprune`, the same as the command."""

from onnx_attnprune.cli import main

main(prog_name="onnx-attnprune")
