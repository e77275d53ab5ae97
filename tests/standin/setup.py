"""Putting the stand-in into a folder, and changing what goes wrong."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_attnprune.phone import TOOLS

SOURCES = Path(__file__).parent


@dataclass(frozen=True)
class StandIn:
    """The stand-in in a folder: its program `adb`, the phone's /data/local/tmp, and a folder of tools to copy there."""

    home: Path

    @property
    def adb(self) -> Path:
        return self.home / "adb"

    @property
    def tools(self) -> Path:
        return self.home / "tools"

    @property
    def temporary(self) -> Path:
        return self.home / "phone/data/local/tmp"

    def state(self, fault: str = "", after: int = 0, devices: dict[str, str] | None = None) -> None:
        phones = {"R58M42": "device"} if devices is None else devices
        state = {"devices": phones, "fault": fault, "after": after}
        (self.home / "state.json").write_text(json.dumps(state))
        (self.home / "calls.txt").write_text("")

    def calls(self) -> list[list[str]]:
        """The arguments of each call since the state was set."""
        found: list[Any] = [json.loads(line) for line in (self.home / "calls.txt").read_text().splitlines()]
        return found


def stand_in(home: Path) -> StandIn:
    """A stand-in where nothing goes wrong."""
    made = StandIn(home)
    made.temporary.mkdir(parents=True)
    made.tools.mkdir()
    _program(made.adb, "adb.py", "-S")  # without site-packages it starts faster
    for tool in TOOLS:
        _program(made.tools / tool, "tools.py", "")
    (made.tools / "libonnxruntime.so").write_bytes(b"\x7fELF")
    (made.tools / "notes.txt").write_text("nothing that a phone needs")
    made.state()
    return made


def _program(path: Path, source: str, flag: str) -> None:
    path.write_text(f"#!{sys.executable} {flag}\n" + (SOURCES / source).read_text())
    path.chmod(0o755)
