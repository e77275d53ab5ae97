"""The command that prints what a shell needs to complete options, commands and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM, VARIABLE = "onnx-attnprune", "_ONNX_ATTNPRUNE_COMPLETE"  # the variable that click looks for by that name
_EXAMPLES = """\b
Examples (put the line into the shell's own start-up file):
  eval "$(onnx-attnprune completion bash)"
  eval "$(onnx-attnprune completion zsh)"
  onnx-attnprune completion fish | source
"""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    short_help="Print a script that lets a shell complete options.",
    epilog=_EXAMPLES,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that lets SHELL complete options, commands and file names."""
    found = get_completion_class(shell)
    assert found is not None  # click knows each shell that the choice offers
    click.echo(found(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
