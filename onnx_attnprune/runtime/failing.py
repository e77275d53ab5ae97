"""Failures of ONNX Runtime, as one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from onnx_attnprune.errors import ModelError

_LONGEST_REASON = 300  # characters; a type error of a big node lists all of its operands


@contextmanager
def told_as(kind: type[ModelError], what: str) -> Iterator[None]:
    """Any failure inside is raised as `kind` with the line "`what`: reason".

    ONNX Runtime's exceptions have no base but Exception, and it raises ValueError and RuntimeError too.
    """
    try:
        yield
    except kind:
        raise
    except Exception as error:
        raise kind(f"{what}: {_one_line(str(error)) or type(error).__name__}") from error


def _one_line(message: str) -> str:
    """ONNX Runtime's message without its codes and places in its own source, in one line of bearable length."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", message)
    text = re.sub(r"\S*/onnxruntime\S*\.(?:cc|h):\d+ (?:.*?\)(?: const)? )?", "", text)
    text = re.sub(r"\S+\.(?:cc|h):\d+ \w+ ", "", text)
    text = re.sub(r"Non-zero status code returned while running", "while running", text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
