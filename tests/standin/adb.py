"""A program that behaves like adb, with one folder as the phone.

It lies in a folder as `adb`, beside `state.json` and the folder `phone`, the root of the phone's files. The state:

    devices   serial number to what `adb devices` says of it
    fault     the name of what goes wrong (see FAULTS and `tools.py`); "" where nothing does
    after     how many calls go well before it does

The phone's shell is that of this machine, and its /data/local/tmp is that below `phone`. Texts and exit codes are those
of adb 1.0.41 (platform-tools 35).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

HOME = Path(__file__).resolve().parent
PHONE = HOME / "phone"
TEMPORARY = "/data/local/tmp"
PROPERTIES = {
    "ro.product.manufacturer": "Acme",
    "ro.product.model": "Anvil 9",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.product.cpu.abi": "arm64-v8a",
}
OLD = {"ro.build.version.release": "9", "ro.build.version.sdk": "28"}
KEYS = (
    "adb: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\n"
    "Try 'adb kill-server' if that seems wrong.\nOtherwise check for a confirmation dialog on your device.\n"
)


def fail(text: str, code: int = 1) -> NoReturn:
    sys.stderr.write(text)
    sys.exit(code)


def main() -> None:
    state = json.loads((HOME / "state.json").read_text())
    arguments = sys.argv[1:]
    with (HOME / "calls.txt").open("a") as log:
        log.write(json.dumps(arguments) + "\n")
    calls = len((HOME / "calls.txt").read_text().splitlines())
    fault = state["fault"] if calls > state.get("after", 0) else ""
    if arguments == ["devices"]:
        devices(state["devices"], fault)
        return
    serial = chosen(state["devices"], arguments[:2])
    if serial is not None:
        arguments = arguments[2:]
    if fault == "disconnected":
        fail(f"adb: device '{serial}' not found\n")
    if arguments[0] == "shell":
        shell(" ".join(arguments[1:]), fault)
    elif arguments[0] == "push":
        push(arguments[1:-1], arguments[-1], fault)
    else:
        fail(f"adb: unknown command {arguments[0]}\n")


def devices(phones: dict[str, str], fault: str) -> None:
    if fault == "no server":
        fail("* daemon not running; starting now at tcp:5037\nADB server didn't ACK\n* failed to start daemon\n"
             "error: cannot connect to daemon\n")  # fmt: skip  # two lines
    if fault == "hangs":
        time.sleep(60)
    print("* daemon not running; starting now at tcp:5037\n* daemon started successfully", file=sys.stderr)
    rows = "".join(f"{serial}\t{state}\n" for serial, state in phones.items())
    print(f"List of devices attached\n{rows}")


def chosen(phones: dict[str, str], first: list[str]) -> str | None:
    """The serial number that is given; ends as adb does where no phone can be meant."""
    if first[:1] == ["-s"]:
        serial = first[1]
        if serial not in phones:
            fail(f"adb: device '{serial}' not found\n")
    elif len(phones) != 1:
        fail("adb: no devices/emulators found\n" if not phones else "adb: more than one device/emulator\n")
    state = phones[serial if first[:1] == ["-s"] else next(iter(phones))]
    if state != "device":
        fail(KEYS if state == "unauthorized" else f"adb: device {state}\n")
    return serial if first[:1] == ["-s"] else None


def shell(command: str, fault: str) -> None:
    """Run a command there; both streams and the exit code come back, as with the shell protocol (Android 7 on)."""
    if fault == "lost on the way":
        print("12 is half of an outp")
        fail("error: closed\n", 255)
    if fault == "lost without a word":
        fail("", 255)
    known = {**PROPERTIES, **(OLD if fault == "Android 9" else {})}
    properties = " ".join(f"{key}) echo '{value}' ;;" for key, value in known.items())
    functions = f"getprop() {{ case $1 in {properties} esac; }}\n"
    if fault == "read-only":
        functions += "mkdir() { echo \"mkdir: '$1': Read-only file system\" >&2; return 1; }\n"
    text = functions + command.replace(TEMPORARY, str(PHONE) + TEMPORARY)
    old = fault == "an old phone"  # before Android 7: no exit codes, one stream, other ends of lines
    errors = subprocess.STDOUT if old else subprocess.PIPE
    done = subprocess.run(["sh", "-c", text], cwd=PHONE, stdout=subprocess.PIPE, stderr=errors, check=False)
    if old:
        sys.stdout.buffer.write(done.stdout.replace(b"\n", b"\r\n"))
        return
    sys.stdout.buffer.write(done.stdout)
    sys.stderr.buffer.write(done.stderr)
    sys.exit(128 - done.returncode if done.returncode < 0 else done.returncode)


def push(sources: list[str], target: str, fault: str) -> None:
    if fault in REFUSED:
        fail(f"adb: error: failed to copy '{sources[0]}' to '{target}model.onnx': {REFUSED[fault]}\n")
    if fault == "push hangs":
        time.sleep(60)
    there = PHONE / target.removeprefix("/")
    files = 0
    for source in map(Path, sources):
        if not there.is_dir():
            fail(f"adb: error: failed to copy '{source}' to '{target}': remote couldn't create file: Is a directory\n")
        if source.is_dir():
            shutil.copytree(source, there / source.name)
        else:
            shutil.copyfile(source, there / source.name)  # without its mode: a phone's /data/local/tmp gives it its own
        files += 1
    if fault == "half a file":
        victim = next(there.rglob("model.onnx"))
        os.truncate(victim, victim.stat().st_size // 2)
    print(f"{files} files pushed, 0 skipped. 38.1 MB/s (6191004 bytes in 0.155s)")


REFUSED = {
    "storage full": "remote write failed: No space left on device",
    "push to read-only": "remote couldn't create file: Read-only file system",
    "push is forbidden": "remote couldn't create file: Permission denied",
    "cable": "failed to read copy response: EOF",
    "odd push": "the moon is in the wrong house",
}

if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()
