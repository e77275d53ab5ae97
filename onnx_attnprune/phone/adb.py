"""adb, the program that speaks to Android phones: what it is asked, and what its answers mean."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx_attnprune.errors import DeviceError
from onnx_attnprune.phone.faults import CLIENT, LOST, STATES, brief, meaning

TEMPORARY = "/data/local/tmp"  # where adb's user may write and run programs, on every phone
_END = "onnx-attnprune-exit"
_NO_ADB = "install Android's platform-tools, or name it with --adb"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command on the phone printed (both of its streams), and its exit code: 128 and more are signals."""

    text: str
    code: int


@dataclass(frozen=True, slots=True)
class Adb:
    """One phone. program: of adb. serial: of the phone. timeout: seconds for any one command."""

    program: str
    serial: str
    timeout: float

    def shell(self, command: str, timeout: float | None = None) -> Answer:
        """Run a command in the phone's shell. Raises DeviceError where the phone is lost, TimeoutError where it hangs.

        The exit code is printed on a line of its own, since phones before Android 7 do not hand it to adb. Where that
        line is missing, the connection was lost.
        """
        given = f"( {command} ) 2>&1; code=$?; echo; echo {_END} $code"
        done = self._run(["shell", given], timeout or self.timeout)
        text, end, rest = done.stdout.rpartition(f"{_END} ")
        code = re.match(r"(\d+)\s", rest)
        if end and code is not None:
            return Answer("\n".join(text.splitlines()).strip(), int(code[1]))
        otherwise = f"{LOST} ({_says(done)})"
        raise DeviceError(f"{self.serial}: {meaning(done.stderr + done.stdout, CLIENT, otherwise)}")

    def push(self, sources: Sequence[str], target: str) -> None:
        """Copy files and folders into a folder of the phone. Raises DeviceError."""
        try:
            done = self._run(["push", *sources, target], self.timeout)
        except TimeoutError:
            raise DeviceError(
                f"{self.serial}: copying to it is not over after {self.timeout:g} s (--timeout)"
            ) from None
        if done.returncode:
            otherwise = f"copying to it failed ({_says(done)})"
            raise DeviceError(f"{self.serial}: {meaning(done.stderr + done.stdout, CLIENT, otherwise)}")

    def _run(self, arguments: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
        return _called(self.program, ["-s", self.serial, *arguments], timeout)


def connected(program: str, serial: str | None, timeout: float) -> Adb:
    """The phone with a serial number, or the only one that is there. Raises DeviceError."""
    found = shutil.which(program)
    if found is None:
        raise DeviceError(f"{program}: command not found; {_NO_ADB}")
    try:
        done = _called(found, ["devices"], timeout)
    except TimeoutError:
        why = "restart it with adb kill-server"
        raise DeviceError(f"{program} devices gives no answer in {timeout:g} s; {why}") from None
    phones = _listed(done.stdout)
    if done.returncode or phones is None:
        raise DeviceError(f"{program} devices: {meaning(done.stderr + done.stdout, CLIENT, _says(done))}")
    chosen = _chosen(phones, serial)
    if phones[chosen] != "device":
        state = next((told for name, told in STATES.items() if phones[chosen].startswith(name)), None)
        raise DeviceError(f"phone {chosen} {state or f'is not ready: adb says {brief(phones[chosen])}'}")
    return Adb(found, chosen, timeout)


def _chosen(phones: Mapping[str, str], serial: str | None) -> str:
    listed = ", ".join(f"{name} ({state.split()[0]})" for name, state in phones.items())
    if serial is not None:
        if serial not in phones:
            raise DeviceError(f"no phone {serial}; adb sees: {listed or 'none'}")
        return serial
    if not phones:
        raise DeviceError(
            "adb sees no phone: connect one with a data cable, and switch USB debugging on in its options"
        )
    usable = [name for name, state in phones.items() if state == "device"]
    if len(phones) > 1 and len(usable) != 1:
        raise DeviceError(f"adb sees several phones: {listed}; choose one with --serial")
    return usable[0] if usable else next(iter(phones))


def _listed(text: str) -> dict[str, str] | None:
    """State of each phone by its serial number; None where this is no list of phones."""
    lines = [line.strip() for line in text.splitlines()]
    if "List of devices attached" not in lines:
        return None
    rows = [line.split(None, 1) for line in lines[lines.index("List of devices attached") + 1 :]]
    return {row[0]: row[1] for row in rows if len(row) == 2 and row[0] != "*"}  # "* daemon started"


def _called(program: str, arguments: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False,
            encoding="utf-8", errors="replace",
        )  # fmt: skip  # some arguments a line
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    except OSError as error:
        raise DeviceError(f"{program}: can't be run: {error.strerror}; {_NO_ADB}") from None


def _says(done: subprocess.CompletedProcess[str]) -> str:
    """An answer that nothing else is known about; where a phone is lost, adb may say nothing at all."""
    return f"adb says: {brief(done.stderr or done.stdout) or 'nothing'}"
