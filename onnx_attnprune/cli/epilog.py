"""What stands below the options in the help of the command that prunes."""

from __future__ import annotations

from onnx_attnprune.cli.dataoptions import DATA

_EXAMPLES = """\b
Examples:
  onnx-attnprune in.onnx out.onnx --ratio 0.3
  onnx-attnprune in.onnx out.onnx --eval data.npz --report report.html
  onnx-attnprune in.onnx --dry-run --plan plan.json
  onnx-attnprune in.onnx out.onnx --from-plan plan.json
"""
COMMANDS = "(commands)"  # which they are is known where they are put together
_COMMANDS = f"""\b
Other commands (COMMAND --help tells more; a file of that name: ./COMMAND):
{COMMANDS}
"""
_EXIT_CODES = """\b
Exit codes (the output is written with 0 only):
   0  done
   1  an error without a code of its own
   2  options that make no sense, alone or together
   3  not a model that can be read, or that ONNX Runtime can run
   4  data that does not fit the model, reports that do not fit together
   5  nothing to prune, or the settings leave everything in place
   6  not a plan, or one of another model
   7  an output can't be written
   8  the self-check failed (of verify: a check)
   9  an execution provider that is not there
  10  a phone that can't be reached, or a tool that does not run on it
  70  a defect of onnx-attnprune itself (--debug shows where)
 130  interrupted
 143  ended by a signal (SIGTERM)
"""
EPILOG = f"{_EXAMPLES}\n{DATA}\n{_COMMANDS}\n{_EXIT_CODES}"
