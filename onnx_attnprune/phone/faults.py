"""What goes wrong with phones, as adb, Android and ONNX Runtime's tools put it, and what a person can do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Faults = Sequence[tuple[str, str]]  # (pattern in the output, what to tell), the first that matches counts
LONGEST, BEGINNING = 120, 40  # characters of an output that are shown, and how many of them are its first

LOST = "it was disconnected on the way: check the cable, and keep it awake"
# What `adb devices` says of a phone, by its beginning.
STATES: Mapping[str, str] = {
    "unauthorized": "does not trust this computer: unlock it, allow USB debugging, and try again",
    "authorizing": "is still asking whether it may trust this computer: unlock it and allow USB debugging",
    "offline": "is offline: plug it in again, or restart adb with adb kill-server",
    "no permissions": "may not be used by this user: it needs a udev rule, or membership in the group plugdev",
    "bootloader": "is in its boot loader: restart it",
    "recovery": "is in recovery mode: restart it",
    "sideload": "is in sideload mode: restart it",
    "connecting": "is not connected yet: try again",
}
# From adb itself, whatever it was asked.
CLIENT: Faults = (
    (r"No space left on device", "its storage is full: free some space, or take smaller or fewer samples"),
    (r"Read-only file system", "its /data/local/tmp can't be written to (read-only): restart it"),
    (r"remote.*Permission denied|couldn't create file: Permission", "its /data/local/tmp can't be written to"),
    (r"device unauthorized", STATES["unauthorized"]),
    (r"device still authorizing", STATES["authorizing"]),
    (r"device offline", STATES["offline"]),
    (r"insufficient permissions", STATES["no permissions"]),
    (r"more than one device", "adb sees several phones: choose one with --serial"),
    (
        r"device '.*' not found|no devices/emulators found|error: closed|copy response|connection reset|protocol fault",
        LOST,
    ),
    (r"cannot connect to daemon|failed to start daemon|server version .* doesn't match", "adb's own server does not "
     "start: restart it with adb kill-server"),
    (r"failed to copy ", "a file could not be copied to it"),
)  # fmt: skip  # two lines are one text
# A program that does not even start, by what the phone's shell or its linker says.
STARTING: Faults = (
    (r"CANNOT LINK EXECUTABLE.*library \"([^\"]+)\" not found", "needs the library {0}: put it beside it in --tools"),
    (r"CANNOT LINK EXECUTABLE", "was built for another version of Android, or of its libraries"),
    (r"not executable: (\S+) ELF|Exec format error|unexpected e_machine", "was built for another processor"),
    (r"inaccessible or not found|: not found|No such file", "is not there"),
    (r"(can't execute|exec\S*|sh): .*Permission denied", "may not be run there"),
)
SIGNALS: Mapping[int, str] = {
    132: "it was built for a newer processor (illegal instruction)",
    134: "it crashed (aborted)",
    135: "it crashed (bus error)",
    136: "it crashed (arithmetic error)",
    137: "it was killed, as Android does where memory is short",
    139: "it crashed (segmentation fault)",
    143: "it was ended by the phone",
}
# Of a tool that runs.
RUNNING: Faults = (
    (r"(?i)(\w+) is not supported in this build", "the tools were built without {0} (build.sh --use_{1})"),
    (r"\[options\.\.\.\]", "this version of the tools does not know the provider, or is too old"),
    (r"(?i)bad_alloc|out of memory", "the phone's memory does not suffice"),
    (r"Unsupported model IR version|is under development|opset \d+ is", "the tools' ONNX Runtime is too old for it"),
)


def meaning(text: str, faults: Faults, otherwise: str) -> str:
    """What an output means, with the line that says so; `otherwise` where nothing of it is known."""
    for pattern, told in faults:
        found = re.search(pattern, text, re.MULTILINE)
        if found is not None:
            groups = [group or "" for group in found.groups()]
            told = told.format(*groups, *(group.lower() for group in groups))
            return f"{told} ({brief(_line(text, found.start()))})"
    return otherwise


def known(text: str, faults: Faults) -> str | None:
    """As `meaning`; None where nothing of it is known."""
    return meaning(text, faults, "") or None


def brief(text: str) -> str:
    """The last line of an output that holds anything, short and without characters that a terminal takes amiss."""
    lines = [line for line in map(_clean, text.splitlines()) if line]
    last = lines[-1] if lines else ""
    if len(last) <= LONGEST:
        return last
    # What matters stands at the end: adb's messages begin with paths.
    return f"{last[:BEGINNING]}…{last[BEGINNING + 1 - LONGEST :]}"


def _clean(line: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in line).split())


def _line(text: str, place: int) -> str:
    return text[text.rfind("\n", 0, place) + 1 :].split("\n", 1)[0]
