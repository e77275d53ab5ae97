"""The tree of errors is the one that its docstring draws."""

from __future__ import annotations

import re
from collections.abc import Iterator

from onnx_attnprune import errors


def tree(kind: type[errors.AttnPruneError], depth: int = 0) -> Iterator[tuple[int, str, int]]:
    yield depth, kind.__name__, kind.exit_code
    for child in sorted(kind.__subclasses__(), key=lambda k: (k.exit_code, k.__name__)):
        yield from tree(child, depth + 1)


def test_the_drawing() -> None:
    drawn = re.findall(r"^    ([│├└─ ]*)(\w+Error) +(\d+) ", errors.__doc__ or "", re.MULTILINE)
    assert [(len(indent) // 4, name, int(code)) for indent, name, code in drawn] == list(tree(errors.AttnPruneError))


def test_the_docstring_names_the_other_codes() -> None:
    for code in (0, errors.INTERNAL, errors.INTERRUPTED):
        assert re.search(rf"\b{code}\b", errors.__doc__ or "")
