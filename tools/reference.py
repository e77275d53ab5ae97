"""The pages of the documentation that are made from the code: every command with its options, every operator's rule."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from onnx_attnprune.cli import main
from onnx_attnprune.ops import RULES

COMMANDS_HEAD = """# Command reference

Made from the commands themselves; `onnx-attnprune COMMAND --help` prints the same. A shell completes them after
`eval "$(onnx-attnprune completion bash)"`.
"""
OPERATORS_HEAD = """# Operators

Every operator with a rule, made from the registry. A rule says which axes of a node are the same, as
[How it works](how-it-works.md) explains; in its pattern letters name channels, `(g i)` is a product, outermost first,
and `...` stands for the axes of space. Other operators are left as they are: what they read and write is kept whole,
and `onnx-attnprune inspect` names them.
"""


def commands_page() -> str:
    """docs/reference.md."""
    return "\n".join([COMMANDS_HEAD, *_section("onnx-attnprune", main.default), *_others("onnx-attnprune", main)])


def _others(path: str, group: click.Group) -> Iterator[str]:
    for name, command in group.commands.items():
        if command is not main.default:
            yield from _section(f"{path} {name}", command)
        if isinstance(command, click.Group):
            yield from _others(f"{path} {name}", command)


def _section(path: str, command: click.Command) -> Iterator[str]:
    ctx = click.Context(command, info_name=path, terminal_width=100, max_content_width=100)
    yield f"## {path}\n"
    for paragraph in (command.help or "").split("\n\n"):
        yield f"{_plain(paragraph)}\n"
    yield f"```text\n{path} {' '.join(command.collect_usage_pieces(ctx))}\n```\n"
    yield "| option | what it does |"
    yield "| --- | --- |"
    for option in command.get_params(ctx):
        row = option.get_help_record(ctx) if isinstance(option, click.Option) else None
        if row is not None:
            yield f"| `{_cell(row[0])}` | {_cell(_plain(row[1]))} |"
    yield ""
    for block in (command.epilog or "").replace("\b", "").strip().split("\n\n"):
        head, _, rest = block.strip().partition("\n")
        if rest:
            yield f"{_plain(head)}\n\n```text\n{rest.rstrip()}\n```\n"


def operators_page() -> str:
    """docs/operators.md."""
    families: dict[str, list[tuple[str, str, str]]] = {}
    for (domain, name), entry in RULES.items():
        families.setdefault(entry.family, []).append((domain, name, entry.summary))
    lines = [OPERATORS_HEAD, f"{len(RULES)} operators.\n"]
    for family in sorted(families):
        lines += [f"## {family}\n", "| operator | domain | rule |", "| --- | --- | --- |"]
        lines += [f"| {n} | {d or 'ai.onnx'} | {_cell(_plain(told))} |" for d, n, told in sorted(families[family])]
        lines.append("")
    return "\n".join(lines)


def _plain(told: str) -> str:
    return re.sub(r"([*_<>\[\]])", r"\\\1", " ".join(told.split()))


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
