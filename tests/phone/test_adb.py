"""Speaking to phones through the stand-in for adb: what it answers, and every way in which it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnx_attnprune.errors import DeviceError
from onnx_attnprune.phone import TEMPORARY, Adb, Answer, connected, phone_of
from tests.standin.setup import StandIn, stand_in

PATIENT, IMPATIENT = 20.0, 0.2  # seconds


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return stand_in(tmp_path_factory.mktemp("standin"))


def told(home: StandIn, serial: str | None = None, timeout: float = PATIENT) -> str:
    with pytest.raises(DeviceError) as error:
        connected(str(home.adb), serial, timeout)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---------------------------------------------------------------- finding a phone
def test_the_only_phone(home: StandIn) -> None:
    home.state()
    assert connected(str(home.adb), None, PATIENT) == Adb(str(home.adb), "R58M42", PATIENT)


def test_the_only_one_that_is_ready(home: StandIn) -> None:
    home.state(devices={"one": "offline", "two": "device"})
    assert connected(str(home.adb), None, PATIENT).serial == "two"


STATES = {
    "unauthorized": "phone R58M42 does not trust this computer: unlock it, allow USB debugging, and try again",
    "authorizing": "phone R58M42 is still asking whether it may trust this computer",
    "offline": "phone R58M42 is offline: plug it in again",
    "no permissions (missing udev rules? user is in the plugdev group); see [http://x]": "it needs a udev rule",
    "bootloader": "phone R58M42 is in its boot loader: restart it",
    "recovery": "phone R58M42 is in recovery mode",
    "host": "phone R58M42 is not ready: adb says host",
}


@pytest.mark.parametrize("state", STATES)
def test_a_phone_that_is_not_ready(state: str, home: StandIn) -> None:
    home.state(devices={"R58M42": state})
    assert STATES[state] in told(home)


def test_no_phone_several_and_another(home: StandIn) -> None:
    home.state(devices={})
    assert told(home).startswith("adb sees no phone: connect one")
    home.state(devices={"one": "device", "two": "device", "three": "offline"})
    assert (
        told(home) == "adb sees several phones: one (device), two (device), three (offline); choose one with --serial"
    )
    assert told(home, "four").startswith("no phone four; adb sees: one (device), two")
    assert connected(str(home.adb), "two", PATIENT).serial == "two"


def test_adb_itself_fails(home: StandIn, tmp_path: Path) -> None:
    home.state("no server")
    assert "adb's own server does not start" in told(home)
    home.state("hangs")
    assert "gives no answer in 0.2 s; restart it with adb kill-server" in told(home, timeout=IMPATIENT)
    with pytest.raises(DeviceError, match="no-such-adb: command not found; install Android's platform-tools"):
        connected("no-such-adb", None, PATIENT)
    broken = tmp_path / "adb"
    broken.write_bytes(b"\x7fELF, but not really")
    broken.chmod(0o755)
    with pytest.raises(DeviceError, match=r"can't be run: .*--adb"):
        connected(str(broken), None, PATIENT)
    broken.write_text("#!/bin/sh\necho what\n")
    with pytest.raises(DeviceError, match=r"devices: adb says: what"):
        connected(str(broken), None, PATIENT)


# ---------------------------------------------------------------- asking it
@pytest.mark.parametrize("phone", ["", "an old phone"])
def test_a_command_and_its_exit_code(phone: str, home: StandIn) -> None:
    home.state(phone)
    adb = Adb(str(home.adb), "R58M42", PATIENT)
    assert adb.shell("echo one; echo two >&2; printf three; exit 7") == Answer("one\ntwo\nthree", 7)
    assert adb.shell("sh -c 'kill -SEGV $$'").code == 139


def test_what_a_phone_says_of_itself(home: StandIn) -> None:
    home.state()
    phone = phone_of(Adb(str(home.adb), "R58M42", PATIENT))
    assert (phone.name, phone.android, phone.sdk, phone.abi) == ("Acme Anvil 9", "14", "34", "arm64-v8a")


@pytest.mark.parametrize("fault", ["lost on the way", "lost without a word", "disconnected"])
def test_the_connection_is_lost(fault: str, home: StandIn) -> None:
    home.state(fault)
    with pytest.raises(DeviceError, match=r"^R58M42: it was disconnected on the way: check the cable.* \("):
        Adb(str(home.adb), "R58M42", PATIENT).shell("echo hello")


def test_a_command_that_hangs(home: StandIn) -> None:
    home.state()
    with pytest.raises(TimeoutError):
        Adb(str(home.adb), "R58M42", IMPATIENT).shell("sleep 20")


# ---------------------------------------------------------------- copying to it
PUSHES = {
    "storage full": "its storage is full: free some space",
    "push to read-only": "can't be written to (read-only): restart it",
    "push is forbidden": "/data/local/tmp can't be written to",
    "cable": "it was disconnected on the way",
    "odd push": "a file could not be copied to it",
}


@pytest.mark.parametrize("fault", PUSHES)
def test_copying_fails(fault: str, home: StandIn, tmp_path: Path) -> None:
    home.state(fault)
    (tmp_path / "f").write_text("hello")
    with pytest.raises(DeviceError) as error:
        Adb(str(home.adb), "R58M42", PATIENT).push([str(tmp_path / "f")], f"{TEMPORARY}/")
    assert PUSHES[fault] in str(error.value)
    assert "(adb: error: failed to copy '" in str(error.value)
    home.state("push hangs")
    with pytest.raises(DeviceError, match=r"copying to it is not over after 0.2 s \(--timeout\)"):
        Adb(str(home.adb), "R58M42", IMPATIENT).push([str(tmp_path / "f")], f"{TEMPORARY}/")
