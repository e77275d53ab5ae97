"""Pruning, as a function."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from onnx_attnprune.api.models import (
    ModelSource,
    PathLike,
    model_file,
    name_of,
    path_or_none,
    paths,
    plan_file,
    shapes,
    told,
)
from onnx_attnprune.api.result import Result
from onnx_attnprune.errors import SettingsError
from onnx_attnprune.evaluate.loading import DataSource
from onnx_attnprune.evaluate.own import MetricFunction
from onnx_attnprune.graph import read_model
from onnx_attnprune.pipeline import Request, WouldHold, prune_file
from onnx_attnprune.planning import AMOUNTS, Heads, Scope, Settings, Streams, Ties, option
from onnx_attnprune.recovery import DEFAULT_MEMORY
from onnx_attnprune.scoring import DEFAULT, SAMPLED

USUAL_RATIO = 0.3
BUDGETS = tuple(name for name in AMOUNTS if name not in ("ratio", "threshold", "top_k"))
FITTING = ("auto", "mix", "least-squares", "sequential", "paired")  # repairs that look at samples


def prune(
    model: ModelSource,
    output: PathLike | None = None,
    *,
    ratio: float | None = None,
    threshold: float | None = None,
    top_k: int | None = None,
    target_macs: float | None = None,
    target_params: float | None = None,
    target_bytes: float | None = None,
    target_latency: float | None = None,
    max_drop: float | None = None,
    criterion: str = "auto",
    scope: Scope | None = None,
    steps: int = 1,
    round_to: int | None = None,
    min_channels: int = 1,
    max_ratio: float | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    layer_ratio: Mapping[str, float] | Sequence[tuple[str, float]] = (),
    attention: Heads = "auto",
    streams: Streams = "cut",
    ties: Ties = "keep",
    deploy: str | None = None,
    seed: int = 0,
    plan: PathLike | None = None,
    from_plan: PathLike | Mapping[str, Any] | None = None,
    dry_run: bool = False,
    recover: str = "auto",
    would_hold: WouldHold = "try",
    memory: int = DEFAULT_MEMORY,
    calibrate: DataSource | None = None,
    eval: DataSource | None = None,  # noqa: A002 - called like the flag
    preprocess: str = "",
    metric: str | MetricFunction | None = None,
    shape: Mapping[str, Sequence[int]] | None = None,
    provider: str = "cpu",
    latency_seconds: float = 1.0,
    bench: str | Sequence[str] = (),
    threads: int = 0,
    report: PathLike | Sequence[PathLike] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Result:
    """Prune a trained network: `onnx-attnprune MODEL OUTPUT`, whose --help tells of every keyword.

    model: a path, the bytes of a file, or a ModelProto, which is not changed. output: where to write the result;
    without one it is only in the `Result`. round_to: None is "auto". memory: in bytes. calibrate, eval: a path,
    "module:function", a function that yields batches, or a dict of arrays (with "labels" for eval). metric:
    "module:function" or a function (outputs, labels). from_plan: a path, or the `plan` of a Result. tell: called with
    the name of each stage.

    Raises a subclass of AttnPruneError: the same errors, in the same words, as the command.
    """
    given = dict(locals())
    with model_file(model) as source, plan_file(from_plan) as planned, tempfile.TemporaryDirectory() as folder:
        target = None if dry_run else Path(folder, "pruned.onnx") if output is None else Path(output)
        keywords = {name: given[name] for name in USUAL if name not in ("tell", "dry_run")}
        written = Path(folder, "plan.json") if plan is None else Path(plan)
        keywords.update(from_plan=planned, plan=written)
        request = prune_request(source, target, told("prune", (model,), given, USUAL), **keywords)
        found = prune_file(request, tell)
        place = None if target is None else "<ModelProto>" if output is None else str(target)
        found = replace(found, model=name_of(model), output=place)
        made = None if target is None else read_model(target) if output is None else target
        return Result(found, json.loads(written.read_text(encoding="utf-8")), made)


# What the keywords are where nobody gives them.
USUAL: Mapping[str, Any] = {
    name: p.default for name, p in inspect.signature(prune).parameters.items() if p.kind is p.KEYWORD_ONLY
}


def prune_request(model: Path, output: Path | None, command: str, **keywords: Any) -> Request:
    """What a run is asked for by the keywords of `prune`; those that are left out are as usual.

    output: None for a dry run. command: what reports call the run. Raises SettingsError for keywords that contradict
    one another.
    """
    given = {**USUAL, **keywords}
    _refuse_contradictions(given)
    ratios = given["layer_ratio"]
    layer_ratios = tuple(ratios.items() if isinstance(ratios, Mapping) else map(tuple, ratios))
    own = {f.name for f in fields(Settings)} & given.keys() - {"ratio", "scope", "criterion", "round_to"}
    stated: dict[str, Any] = {n: tuple(given[n]) if n in ("include", "exclude") else given[n] for n in own}
    settings = Settings(
        ratio=USUAL_RATIO if all(given[name] is None for name in AMOUNTS) else given["ratio"],
        scope=_scope(given),
        criterion=_criterion(given),
        layer_ratios=layer_ratios,
        **stated,
    )
    return Request(
        model=model,
        output=output,
        settings=settings,
        shapes=shapes(given["shape"]),
        evaluation=given["eval"],
        calibration=given["calibrate"],
        plan=path_or_none(given["plan"]),
        from_plan=path_or_none(given["from_plan"]),
        reports=paths(given["report"]),
        command=command,
        bench=(given["bench"],) if isinstance(given["bench"], str) else tuple(given["bench"]),
        **{k: given[k] for k in ("round_to", "provider", "recover", "would_hold", "memory", "preprocess", "metric",
                                 "latency_seconds", "threads")},
    )  # fmt: skip  # a list of names


def _refuse_contradictions(given: Mapping[str, Any]) -> None:
    if given["calibrate"] is not None and not _calibrates(given):
        raise SettingsError(
            f"--recover {given['recover']} looks at no data, nor does the choice of channels, and figures are measured "
            "on --eval: leave out --calibrate"
        )
    if given["from_plan"] is not None:
        decided = [name for name in USUAL if _is_decided(name) and given[name] != USUAL[name]]
        if decided:
            raise SettingsError(f"--from-plan has decided what goes: leave out {', '.join(map(option, decided))}")


def _calibrates(given: Mapping[str, Any]) -> bool:
    """Whether a run looks at unlabelled samples: to measure on where there are no labelled ones, to repair, to score or
    to share a budget out by error."""
    if given["eval"] is None or given["recover"] in FITTING:
        return True
    shared = _scope(given) == "global" and any(given[name] is not None for name in BUDGETS)
    return given["from_plan"] is None and (_criterion(given) in SAMPLED or shared)


def _is_decided(name: str) -> bool:
    """Whether a plan has decided a keyword already: all that says which channels go, and nothing else."""
    return name == "layer_ratio" or name in {f.name for f in fields(Settings)}


def _scope(given: Mapping[str, Any]) -> Scope:
    """The scope that was asked for, else the one that measures better (error by group rests on the repair's fit)."""
    asked: Scope | None = given["scope"]
    if asked is not None:
        return asked
    scored = given["threshold"] is not None or given["top_k"] is not None
    return "global" if given["recover"] in FITTING and not scored else "layer"


def _criterion(given: Mapping[str, Any]) -> str:
    """The criterion that was asked for, else the one that measures better: with samples for the repair, or without."""
    asked: str = given["criterion"]
    if asked != "auto":
        return asked
    return "obs" if given["calibrate"] is not None and given["recover"] in FITTING else DEFAULT
