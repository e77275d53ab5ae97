"""Programs that behave like ONNX Runtime's `onnx_test_runner` and `onnxruntime_perf_test` on a phone.

They really load the model that was copied there and run it, on the CPU. Which one it is they take from their name. The
state of the stand-in adb, which lies above them, says what goes wrong. Texts and exit codes are those of ONNX Runtime
1.22.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve()
HOME = next(folder for folder in HERE.parents if (folder / "state.json").is_file())
STATE = json.loads((HOME / "state.json").read_text())
FAULT = STATE["fault"]
NAMES = {"cpu": "CPU", "nnapi": "Nnapi", "xnnpack": "Xnnpack"}
NOT_BUILT = {"cpu": "CPU", "nnapi": "NNAPI", "xnnpack": "XNNPACK"}
LINKER = f'CANNOT LINK EXECUTABLE "{HERE}":'
SHELL = f"/system/bin/sh: {HERE}:"
STARTING = {
    "missing library": (1, f'{LINKER} library "libonnxruntime.so" not found: needed by main executable'),
    "older Android": (1, f'{LINKER} cannot locate symbol "__strlcpy_chk" referenced by "{HERE}"...'),
    "wrong processor": (126, f"{SHELL} not executable: 64-bit ELF file"),
    "not executable": (126, f"{SHELL} can't execute: Permission denied"),
    "not there": (127, f"{SHELL} inaccessible or not found"),
}
SIGNALS = {"crash": signal.SIGSEGV, "abort": signal.SIGABRT, "killed": signal.SIGKILL, "old processor": signal.SIGILL}


def end(text: str, code: int) -> NoReturn:
    print(text, flush=True)
    os._exit(code)


def parsed(flags: str) -> tuple[dict[str, str], list[str]]:
    """Options with a value (those in `flags` have none), and what is no option."""
    options: dict[str, str] = {}
    rest, words = [], iter(sys.argv[1:])
    for word in words:
        if word[0] != "-":
            rest.append(word)
        else:
            options[word[1:]] = "" if word[1:] in flags else next(words)
    return options, rest


def misbehave(provider: str, model: str) -> None:
    """What goes wrong before anything is loaded; `fault` may end in " on nnapi", or " of pruned"."""
    fault = FAULT
    for what, given in ((" on ", provider), (" of ", model)):
        fault, _, only = fault.partition(what)
        if only and only != given:
            return
    if fault in SIGNALS:
        os.kill(os.getpid(), SIGNALS[fault])
    if fault == "hang":
        time.sleep(60)
    if fault == "garbage":
        end("\x00\x1b[31m\x7fELF ~~~ \x07", 0)
    if fault == "silence":
        end("", 0)
    if fault == "not built":
        end(f"{NOT_BUILT[provider]} is not supported in this build", 255)
    if fault == "unknown provider":
        end("onnx_test_runner [options...] <data_root>\nOptions:\n\t-j [models]: Specifies", 255)


def sets(folder: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Inputs and expected outputs of each sample beside a model."""
    import numpy as np

    # The messages alone: importing onnx takes as long as all the rest.
    place = Path(str(find_spec("onnx").origin)).with_name("onnx_ml_pb2.py")  # type: ignore[union-attr]  # it is there
    spec = spec_from_file_location("onnx_ml_pb2", place)
    messages = module_from_spec(spec)  # type: ignore[arg-type]  # as above
    spec.loader.exec_module(messages)  # type: ignore[union-attr]  # as above
    types = {1: np.float32, 7: np.int64}

    def read(kind: str, home: Path) -> dict[str, Any]:
        tensors = [messages.TensorProto.FromString(p.read_bytes()) for p in sorted(home.glob(f"{kind}_*.pb"))]
        return {t.name: np.frombuffer(t.raw_data, types[t.data_type]).reshape(t.dims) for t in tensors}

    return [(read("input", home), read("output", home)) for home in sorted(folder.glob("test_data_set_*"))]


def session(model: Path, **settings: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    for name, value in settings.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def test_runner() -> None:
    options, (root,) = parsed("v")
    misbehave(options["e"], root)
    import numpy as np

    counts = dict.fromkeys(("Got exception while loading model", "Result differs"), 0)
    found = sets(Path(root))
    try:
        loaded = session(Path(root, "model.onnx"))
    except Exception:
        counts["Got exception while loading model"] = len(found)
        found = []
    for feeds, expected in found:
        got = dict(zip(expected, loaded.run(list(expected), feeds), strict=True))
        absolute, relative = float(options["a"]), float(options["t"])
        fine = all(np.allclose(got[n], a, rtol=relative, atol=absolute) for n, a in expected.items())
        counts["Result differs"] += not fine or FAULT == "wrong outputs"
    failed, total = sum(counts.values()), len(found) or 1
    why = "".join(f"\t\t\t{name}: {count}\n" for name, count in counts.items() if count)
    print(
        f"result: \n\tModels: 1\n\tTotal test cases: {total}\n\t\tSucceeded: {total - failed}\n\t\tNot implemented: 0\n"
        f"\t\tFailed: {failed}\n{why}\tStats by Operator type:\n\t\tNot implemented(0): \n\t\tFailed:\n"
        f"Failed Test Cases:{root if failed else ''}"
    )
    if failed:
        print(f"test {root} failed, please fix it", file=sys.stderr)
        sys.exit(255)


def perf_test() -> None:
    options, (model, *table) = parsed("sv")
    folder = Path(model).parent
    misbehave(options["e"], folder.name)
    start = time.perf_counter()
    profile = {"enable_profiling": True, "profile_file_prefix": options["p"]} if "p" in options else {}
    loaded = session(Path(model), **profile)
    created = time.perf_counter() - start
    feeds = sets(folder)[0][0]
    seconds = []
    for _ in range(int(options["r"]) + 1):
        start = time.perf_counter()
        loaded.run(None, feeds)
        seconds.append(time.perf_counter() - start)
    seconds = seconds[1:]  # the first warms up
    if profile:
        claim(Path(loaded.end_profiling()), options["e"], folder.name)
    print(
        f"Session creation time cost: {created:.6g} s\nFirst inference time cost: 3 ms\n"
        f"Total inference time cost: {sum(seconds):.6g} s\nTotal inference requests: {len(seconds)}\n"
        f"Average inference time cost: {sum(seconds) / len(seconds) * 1e3:.6g} ms\n"
        f"Number of inferences per second: {len(seconds) / sum(seconds):.6g} \nAvg CPU usage: 50 %\n"
        "Peak working set size: 34574336 bytes"
    )
    if table:
        write(Path(table[0]), folder.name, seconds)
    else:
        low, *_, high = sorted(seconds * 2)
        print(f"Min Latency: {low:.6g} s\nMax Latency: {high:.6g} s\nP50 Latency: {seconds[0]:.6g} s")


def write(table: Path, name: str, seconds: list[float]) -> None:
    if FAULT == "twice as fast":
        seconds = [{"original": 0.002, "pruned": 0.001}[name]] * len(seconds)
    with table.open("a") as out:
        for k, second in enumerate(seconds[: 1 if FAULT == "too few times" else None]):
            out.write(f"{name},{second:.6g},34574336,50,{k}\n")


def claim(profile: Path, provider: str, model: str) -> None:
    """What the provider has taken: all nodes but the first operator, fused into one (by XNNPACK: each by itself)."""
    if FAULT == "no profile":
        profile.unlink()
        return
    if provider == "cpu" or FAULT.partition("takes nothing of ")[2] == model:
        return
    events = json.loads(profile.read_text())
    nodes = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    taken = [e for e in nodes if e["args"]["op_name"] != nodes[0]["args"]["op_name"]]
    for event in taken:
        event["args"]["provider"] = f"{NAMES[provider]}ExecutionProvider"
    dropped = taken[1:] if provider == "nnapi" else []
    profile.write_text(json.dumps([e for e in events if e not in dropped]))


def main() -> None:
    if FAULT in STARTING:
        code, text = STARTING[FAULT]
        end(text, code)
    runner = HERE.name == "onnx_test_runner"
    if sys.argv[1:] == ["-h"]:
        use = "onnx_test_runner [options...] <data_root>" if runner else "onnxruntime_perf_test [options...] model_path"
        end(f"{use}\nOptions:\n\nonnxruntime version: 1.22.0" if runner else f"{use}\n\nOptions:", 255 if runner else 1)
    test_runner() if runner else perf_test()


if __name__ == "__main__":
    main()
