"""The commands: to prune, which needs no name, and the others by theirs."""

from __future__ import annotations

from typing import Any

import click

from onnx_attnprune.cli.bench import bench
from onnx_attnprune.cli.command import prune
from onnx_attnprune.cli.compare import compare
from onnx_attnprune.cli.completion import completion
from onnx_attnprune.cli.config import add_config
from onnx_attnprune.cli.device import device
from onnx_attnprune.cli.epilog import COMMANDS
from onnx_attnprune.cli.inspect import inspect
from onnx_attnprune.cli.sensitivity import sensitivity
from onnx_attnprune.cli.verify import verify


class Commands(click.Group):
    """A group that runs `default` where the first argument names no command, and so for --help and --version too.

    A file that is called like a command is still reached by a path (./inspect).
    """

    def __init__(self, name: str, default: click.Command, *others: click.Command) -> None:
        super().__init__(name, commands=list(others), help=default.help)
        self.default = default
        for command in (default, *(c for c in others if c is not completion)):
            add_config(command)
        widest = max(len(c.name or "") for c in others)
        rows = [f"  {c.name:<{widest}}  {c.short_help}" for c in others]
        default.epilog = (default.epilog or "").replace(COMMANDS, "\n".join(rows))

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of this group, or of the default command right away."""
        if args and args[0] in self.commands:
            return super().make_context(info_name, args, parent, **extra)
        return self.default.make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run what the context was made for."""
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


main = Commands(
    "onnx-attnprune",
    prune,
    inspect,
    verify,
    bench,
    device,
    compare,
    sensitivity,
    completion,
)
