"""Pruning as a pass of Microsoft Olive (`pip install 'onnx-attnprune[olive]'`): ONNX model in, ONNX model out.

Olive knows a pass by its package configuration. `package_config` gives Olive's own with this pass in it, for
`olive.workflows.run(config, package_config=package_config())`; `python -m onnx_attnprune.olive` prints it, for
`olive run --config FILE --package-config FILE`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from olive.package_config import OlivePackageConfig
from olive.passes import Pass
from olive.passes.onnx.common import get_external_data_config, model_proto_to_olive_model
from olive.passes.pass_config import PassConfigParam

from onnx_attnprune.api import prune
from onnx_attnprune.api.pruning import USUAL
from onnx_attnprune.cli.commands import main
from onnx_attnprune.errors import ModelError

MODULE, NAME = "onnx_attnprune.olive", "OnnxAttnPrune"  # of this file, whatever it runs as
Table = dict[str, Any]

# What the keywords of `prune` are in a JSON file. Those that are missing are none of a pipeline's: a dry run makes no
# model, and a plan that is replayed is of the model's own file, which an earlier pass would have changed.
TYPES: Mapping[str, Any] = {
    "ratio": float, "threshold": float, "top_k": int, "target_macs": float, "target_params": float,
    "target_bytes": float, "target_latency": float, "max_drop": float, "criterion": str, "scope": str, "steps": int,
    "round_to": int, "min_channels": int, "max_ratio": float, "include": list[str], "exclude": list[str],
    "layer_ratio": dict[str, float], "attention": str, "streams": str, "ties": str, "deploy": str, "seed": int,
    "plan": str, "recover": str, "would_hold": str, "memory": int, "calibrate": str, "eval": str, "preprocess": str,
    "metric": str, "shape": dict[str, list[int]], "provider": str, "latency_seconds": float, "bench": list[str],
    "threads": int, "report": list[str],
}  # fmt: skip  # the names in the order of the keywords
SIZES = {"memory": "In bytes here.", "round_to": "Left out: auto."}


class OnnxAttnPrune(Pass):  # type: ignore[misc]  # Olive is an optional extra, which type checks are made without
    """Prunes a trained network: a smaller, faster one, exact in what is left, repaired without training.

    Every keyword of `onnx_attnprune.prune` is one of its settings. Raises a subclass of AttnPruneError, as that does.
    """

    @classmethod
    def _default_config(cls, accelerator_spec: Any) -> dict[str, Any]:
        """The settings, with what they are where nobody gives them, and how to store large tensors."""
        told = _help()
        own = {
            name: PassConfigParam(type_=kind, default_value=_plain(USUAL[name]), description=told[name])
            for name, kind in TYPES.items()
        }
        return {**own, **get_external_data_config()}

    def _run_for_config(self, model: Any, config: Any, output_model_path: str) -> Any:
        """Prune the model of a handler and give a handler of the result."""
        if getattr(model, "external_initializers_path", None) is not None:
            raise ModelError(f"{model.model_path}: its weights are inputs in another file, and can't be pruned")
        source = Path(model.model_path)
        target = Path(output_model_path)
        if target.suffix != ".onnx":
            target = target / source.name
        settings = config.model_dump()
        given = {name: settings[name] for name in TYPES if settings[name] is not None}
        result = prune(source, **given)
        return model_proto_to_olive_model(result.model, target, config)


def package_config() -> Table:
    """Olive's own package configuration, with this pass in it."""
    text = Path(OlivePackageConfig.get_default_config_path()).read_text(encoding="utf-8")
    found: Table = json.loads(text)
    found["passes"][NAME] = {
        "module_path": f"{MODULE}.{NAME}",
        "supported_providers": ["*"],
        "supported_accelerators": ["*"],
        "supported_precisions": ["*"],
        "dataset": "dataset_optional",
    }
    return found


def _help() -> dict[str, str]:
    """What the flags of the command say, by the keywords that are called like them."""
    told = {}
    for option in main.default.params:
        name = option.opts[0].removeprefix("--").replace("-", "_")
        told[name] = f"{getattr(option, 'help', '') or ''} {SIZES.get(name, '')}".strip()
    return told


def _plain(value: Any) -> Any:
    """A usual value as JSON has it: what holds nothing is left out."""
    return None if value == () else value


if __name__ == "__main__":
    print(json.dumps(package_config(), indent=1))
