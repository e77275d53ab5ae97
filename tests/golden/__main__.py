"""Compares the golden group files with what the analysis says, or writes them anew.

python -m tests.golden            which of them differ
python -m tests.golden --write    write them; then look at the diff, since each line of it is a claim
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.golden.nets import NETS
from tests.oracle import analyzed, told

FOLDER = Path(__file__).parent


def text_of(name: str) -> str:
    """The analysis of a network, as its golden file has it."""
    build = NETS[name]
    return f"{(build.__doc__ or '').strip()}\n\n{told(analyzed(build()))}\n"


def main(arguments: list[str]) -> int:
    """The exit code: 1 where a file differs and is not to be written."""
    if arguments not in ([], ["--write"]):
        print(__doc__)
        return 2
    stale = [n for n in NETS if not (f := FOLDER / f"{n}.txt").is_file() or f.read_text() != text_of(n)]
    for name in stale:
        if arguments:
            (FOLDER / f"{name}.txt").write_text(text_of(name))
        print(f"{'written' if arguments else 'differs'}: tests/golden/{name}.txt")
    return 1 if stale and not arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
