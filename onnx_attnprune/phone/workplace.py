"""A folder of our own on a phone, with what is to run there."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx_attnprune.errors import DeviceError, ToolError
from onnx_attnprune.phone.adb import TEMPORARY, Adb, Answer
from onnx_attnprune.phone.faults import STARTING, brief, known
from onnx_attnprune.phone.told import fault_of

PERF_TEST, TEST_RUNNER = "onnxruntime_perf_test", "onnx_test_runner"
TOOLS = (PERF_TEST, TEST_RUNNER)
_PROPERTIES = {
    "maker": "ro.product.manufacturer",
    "model": "ro.product.model",
    "android": "ro.build.version.release",
    "sdk": "ro.build.version.sdk",
    "abi": "ro.product.cpu.abi",
}
_PATIENCE = 30.0  # seconds for the phone's own small commands, however long a tool may take


@dataclass(frozen=True, slots=True)
class Phone:
    """What a phone says of itself; empty where it does not say."""

    serial: str
    maker: str
    model: str
    android: str
    sdk: str
    abi: str

    @property
    def name(self) -> str:
        """What to call it."""
        return " ".join(word for word in (self.maker, self.model) if word) or self.serial


def phone_of(adb: Adb) -> Phone:
    """Ask a phone what it is. Raises DeviceError."""
    told = _asked(adb, "; ".join(f"echo {name}=$(getprop {key})" for name, key in _PROPERTIES.items())).text
    found = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    return Phone(adb.serial, **{name: found.get(name, "").strip() for name in _PROPERTIES})


@dataclass(frozen=True, slots=True)
class Workplace:
    """A folder on a phone. tools: the folder there that holds ONNX Runtime's tools and their libraries."""

    adb: Adb
    folder: str
    tools: str

    @classmethod
    def fresh(cls, adb: Adb, tools: str | None) -> Workplace:
        """Make a folder; `tools` None: they are to lie in it, too. Raises DeviceError."""
        folder = f"{TEMPORARY}/onnx-attnprune-{secrets.token_hex(4)}"
        made = _asked(adb, f"mkdir {folder}")
        if made.code:
            raise DeviceError(f"{adb.serial}: its {TEMPORARY} can't be written to: {brief(made.text)}")
        return cls(adb, folder, tools or folder)

    def remove(self) -> str:
        """Remove the folder with all that is in it; why it is still there, empty where it is gone."""
        try:
            gone = _asked(self.adb, f"rm -rf {self.folder}")
        except DeviceError:
            return f"{self.folder} is left on it"
        return f"{self.folder} could not be removed: {brief(gone.text)}" if gone.code else ""

    def stop(self) -> None:
        """End the tool that runs here. Raises DeviceError."""
        _asked(self.adb, f"kill -9 $(cat {self.folder}/pid)")

    def put(self, sources: Sequence[str], sizes: Mapping[str, int]) -> None:
        """Copy files and folders here. sizes: in bytes, of every file by its path here. Raises DeviceError.

        adb says in some versions that it copied what it did not; so the sizes are looked at.
        """
        self.adb.push(sources, f"{self.folder}/")
        told = _asked(self.adb, f"cd {self.folder} && find . -type f -exec wc -c {{}} \\;").text
        there = {path.strip(): int(size) for size, path in re.findall(r"^\s*(\d+) \./(.*)$", told, re.M)}
        for path, size in sizes.items():
            if there.get(path) != size:
                how = f"{there[path]:,} of {size:,} bytes of it are there" if path in there else "it is not there"
                raise DeviceError(f"{self.adb.serial}: {path} was copied, but {how}: is its storage full?")

    def started(self, tool: str) -> str:
        """What a tool prints of its use. Raises DeviceError where it does not start on this phone."""
        asked = _asked(self.adb, f"chmod 755 {shlex.quote(f'{self.tools}/{tool}')}; {self._line(tool, ['-h'])}")
        if "options" in asked.text:  # whatever its exit code: each tool has another one for this
            return asked.text
        why = known(asked.text, STARTING)
        raise DeviceError(str(fault_of(tool, asked)) if why is None else f"{self.tools}/{tool} {why}")

    def run(self, tool: str, arguments: Sequence[str]) -> Answer:
        """Run a tool here. Raises ToolError where it does not end in time, after it was stopped; DeviceError."""
        try:
            return self.adb.shell(f"cd {self.folder} && {self._line(tool, arguments)}")
        except TimeoutError:
            self.stop()
        raise ToolError(f"{tool} was still running after {self.adb.timeout:g} s, and was stopped (--timeout)")

    def text(self, pattern: str) -> str:
        """What the files here hold whose names match, which are removed; empty where there are none."""
        return _asked(self.adb, f"cd {self.folder} && cat {pattern}; rm -f {pattern}").text

    def _line(self, tool: str, arguments: Sequence[str]) -> str:
        # The shell that writes its number becomes the tool, so that it and nothing else can be stopped.
        inner = (
            f"echo $$ > {self.folder}/pid; export LD_LIBRARY_PATH={shlex.quote(self.tools)}; "
            f"exec {shlex.join([f'{self.tools}/{tool}', *arguments])}"
        )
        return f"sh -c {shlex.quote(inner)}"


def _asked(adb: Adb, command: str) -> Answer:
    """A small command of the phone's own."""
    try:
        return adb.shell(command, min(_PATIENCE, adb.timeout))
    except TimeoutError:
        raise DeviceError(f"{adb.serial}: gives no answer; restart it, or adb with adb kill-server") from None
