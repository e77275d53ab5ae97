"""Options from a TOML file, for each command from the table of its name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from onnx_attnprune.cli.options import AMOUNTS, FILE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def add_config(command: click.Command) -> None:
    """Give a command, or all commands of a group, the option --config."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            add_config(inner)
        return
    option = click.Option(
        ["--config"],
        type=FILE,
        metavar="F.toml",
        is_eager=True,
        expose_value=False,
        callback=_read,
        help="Take options from the table of this command's name in a TOML file; those given here count more.",
    )
    command.params.append(option)


def _read(ctx: click.Context, option: click.Parameter, path: Path | None) -> None:
    if path is None or ctx.resilient_parsing:
        return
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", ctx, option) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path}: no TOML: {error}", ctx, option) from None
    try:
        ctx.default_map = _defaults(ctx.command, _table(tables, _path_of(ctx)))
    except ValueError as error:
        raise click.BadParameter(f"{path}: {error}", ctx, option) from None


def _path_of(ctx: click.Context) -> list[str]:
    """The command's name, below the names of its groups; the program itself has none."""
    names = [ctx.command.name or ""]
    while ctx.parent is not None and ctx.parent.parent is not None:
        ctx = ctx.parent
        names.insert(0, ctx.command.name or "")
    return names


def _table(tables: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The table of a command. Raises ValueError for options outside of any table, or without that table."""
    stray = [name for name, value in tables.items() if not isinstance(value, dict)]
    if stray:
        raise ValueError(f"{', '.join(stray)}: put options below a table of their command, such as [{names[0]}]")
    found: Any = tables
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"no table [{'.'.join(names)}]; it has: {', '.join(tables) or 'nothing'}")
    return found


def _defaults(command: click.Command, table: dict[str, Any]) -> dict[str, Any]:
    """Defaults by parameter name. Raises ValueError for a key that is no option of the command."""
    flags = {o.lstrip("-"): p for p in command.params for o in p.opts if o.startswith("--") and p.name != "config"}
    found: dict[str, Any] = {}
    for key, value in table.items():
        option = flags.get(key.replace("_", "-"))
        if option is None or option.name is None:
            raise ValueError(f"[{command.name}] {key}: no such option; choose from: {', '.join(sorted(flags))}")
        found[option.name] = _value(key, value, option)
    return found


def _value(key: str, value: Any, option: click.Parameter) -> Any:
    if isinstance(value, dict):  # layer-ratio = {"stage4.*" = 0.6} reads better than a list of "stage4.*=0.6"
        value = [f"{name}={'x'.join(map(str, v)) if isinstance(v, list) else v}" for name, v in value.items()]
    wanted = _wanted(option)
    given = "a list or a table" if isinstance(value, list) else "one value"
    given = "true or false" if isinstance(value, bool) else given
    if wanted != given:
        raise ValueError(f"{key}: {wanted} is needed, not {given}")
    return [str(v) for v in value] if isinstance(value, list) else value if isinstance(value, bool) else str(value)


def _wanted(option: click.Parameter) -> str:
    if getattr(option, "multiple", False):
        return "a list or a table"
    return "true or false" if getattr(option, "is_flag", False) else "one value"


def drop_other_amounts(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The options, without a configuration's amount (ratio, target, ...) where the command line gives another one."""
    line = [n for n in AMOUNTS if ctx.get_parameter_source(n) == click.core.ParameterSource.COMMANDLINE]
    if not line:
        return options
    return {k: None if k in AMOUNTS and k not in line else v for k, v in options.items()}
