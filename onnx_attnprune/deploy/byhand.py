"""What goes into a bundle for people: a script that runs it on a phone with nothing but adb, and a page about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx_attnprune.deploy.bundle import README, ROLES, SCRIPT, Bundled


def papers(models: Sequence[Bundled], samples: int, inputs: str) -> Iterator[tuple[str, str]]:
    """(name, text) of each. inputs: where the samples are from."""
    limits = [(model.role, *model.limits(None)) for model in models]
    cases = [f"    {role}) absolute={one:.3g} relative={two:.3g} ;;" for role, one, two in limits]
    yield SCRIPT, _SCRIPT_TEXT.replace("@ROLES@", " ".join(ROLES)).replace("@CASES@", "\n".join(cases))
    count = f"{samples} {'sample' if samples == 1 else 'samples'} ({inputs})"
    yield README, _README_TEXT.replace("@SAMPLES@", count)


_SCRIPT_TEXT = """\
#!/bin/sh
# Runs this bundle on an Android phone by hand: checks the outputs of the original and the pruned model, and measures.
#
#     sh run.sh TOOLS [PROVIDER]
#
# TOOLS is a folder with Android builds of onnx_test_runner and onnxruntime_perf_test, the libraries (.so) that they
# load, and nothing else. PROVIDER is cpu, xnnpack or nnapi. Where there are several phones, adb takes that of its own
# variable ANDROID_SERIAL.
set -eu
if [ $# -lt 1 ]; then
    sed -n '2,8s/^# \\{0,1\\}//p' "$0"
    exit 2
fi
tools=$(cd "$1" && pwd)
provider=${2:-cpu}
cd "$(dirname "$0")"
there=/data/local/tmp/onnx-attnprune-by-hand
adb shell "rm -rf $there && mkdir $there"
trap 'adb shell "rm -rf $there"' EXIT
adb push @ROLES@ "$tools"/* "$there/"
adb shell "chmod 755 $there/onnx*"
for model in @ROLES@; do
    case $model in
@CASES@
    esac
    echo "== $model on $provider"
    start="cd $there && export LD_LIBRARY_PATH=$there &&"
    adb shell "$start ./onnx_test_runner -e $provider -j 1 -c 1 -a $absolute -t $relative $model"
    adb shell "$start ./onnxruntime_perf_test -e $provider -m times -r 100 -s $model/model.onnx"
done
"""
_README_TEXT = """\
# A model before and after pruning, for a phone

Made by `onnx-attnprune device bundle`; `manifest.json` holds the command, the versions, and the SHA-256 of every file.

- `original/` and `pruned/`: `model.onnx` with fixed shapes, and @SAMPLES@
  in `test_data_set_*`: `input_*.pb`, and in `output_*.pb` what this model made of them on the CPU of the computer that
  the bundle was made on. It is the layout that ONNX Runtime's `onnx_test_runner` and `onnxruntime_perf_test` read.
- `ort/`: the same models in ONNX Runtime's own format, for apps.
- `run.sh`: runs both on a phone with nothing but adb: `sh run.sh TOOLS nnapi`.

`onnx-attnprune device run` on this folder does the same in turns, looks where the nodes really run, and reports.
"""
