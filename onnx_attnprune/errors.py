"""Every error that the tool raises on purpose, and the exit code that each one ends a command with.

    AttnPruneError                1   anything that has no code of its own
    ├── SettingsError             2   an option, a pattern or a combination of options that makes no sense
    ├── ModelError                3   the input is not a model that can be read
    │   ├── AxisError             3   the sizes of a node's operands contradict each other
    │   └── FeedError             3   the model loads, but does not run on the inputs that it was fed
    ├── DataError                 4   evaluation or calibration data that does not fit the model
    │   └── ReportError           4   a file that is no report, or reports on different models
    ├── NothingToPruneError       5   no channel group, or the settings leave every channel in place
    │   └── PromiseError          5   a budget or a largest drop that can't be kept
    ├── PlanError                 6   a plan that does not belong to this model
    ├── OutputError               7   the output can't be written
    ├── SelfCheckError            8   the pruned model is not what it must be; nothing was written
    │   └── VerificationError     8   a check of `verify` failed
    ├── ProviderError             9   an execution provider that this build of ONNX Runtime lacks
    └── DeviceError              10   a phone that can't be reached, or on which nothing can be run
        └── ToolError            10   one of ONNX Runtime's tools failed there; others may do better

Code 2 is also what click uses for a malformed command line; 0 is success; 70 is a defect of the tool itself (`--debug`
shows where); 130 an interrupt from the keyboard, 143 a signal to end (SIGTERM).
"""

from __future__ import annotations


class AttnPruneError(Exception):
    """Base of all deliberate errors; `str()` of it is one line that a user can act on."""

    exit_code = 1


class SettingsError(AttnPruneError):
    """An option or a combination of options makes no sense for this model."""

    exit_code = 2


class ModelError(AttnPruneError):
    """The input file is not an ONNX model that can be read."""

    exit_code = 3


class AxisError(ModelError):
    """Two axes that an operator makes equal have different sizes."""


class FeedError(ModelError):
    """ONNX Runtime loads the model but can't run it on the inputs that it was fed (sizes that it does not take)."""


class DataError(AttnPruneError):
    """Evaluation or calibration data does not fit the model."""

    exit_code = 4


class ReportError(DataError):
    """A file is no report that can be read, or a report on another model than those it is compared with."""


class NothingToPruneError(AttnPruneError):
    """The model has no channel group, or the settings leave every channel in place."""

    exit_code = 5


class PromiseError(NothingToPruneError):
    """No choice of channels that the settings allow keeps what was asked for; the message says what could be had."""


class PlanError(AttnPruneError):
    """A plan file is malformed or does not belong to the model."""

    exit_code = 6


class OutputError(AttnPruneError):
    """The output file can't be written; whatever was there before is untouched."""

    exit_code = 7


class SelfCheckError(AttnPruneError):
    """The pruned model failed its own check; no output was written."""

    exit_code = 8


class VerificationError(SelfCheckError):
    """A pruned model failed a check of `verify`; the report says which."""


class ProviderError(AttnPruneError):
    """The execution provider asked for is not in this build of ONNX Runtime."""

    exit_code = 9


class DeviceError(AttnPruneError):
    """A phone can't be reached over adb, or what was to run on it did not."""

    exit_code = 10


class ToolError(DeviceError):
    """One of ONNX Runtime's tools failed on a phone that is still there."""


INTERNAL = 70
INTERRUPTED = 130
TERMINATED = 143
