#!/usr/bin/env python3
"""What other pruners make of a network: Torch-Pruning, onnxsim's pruning, Neuron Merging and model folding.

`bench_accuracy` runs this in an environment of its own (torch, torch-pruning, onnxsim, scikit-learn, onnxruntime). The
networks are those of `train_models.py` and `train_cifar.py`, loaded from the ONNX file into the PyTorch module. Prints
JSON lists of cells, one a line.

Neuron Merging (Kim et al., NeurIPS 2020) and folding (model folding with data-driven REPAIR, ICLR 2025) are small
implementations by their papers, in `accuracy_merging.py`: no code of the authors.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch_pruning as tp
from accuracy_merging import fold, merge, restandardise, stages_of
from cifar_networks import SlimVgg16, Vit, build_resnet20
from torch import Tensor, nn
from train_models import MobileNet, ResNet, Vgg, fold_batch_norms

BUILD: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "cifar_resnet20": (build_resnet20, False), "cifar_vgg16_slim": (SlimVgg16, False), "cifar_vit": (Vit, False),
    "fashion_resnet": (ResNet, False), "fashion_mobilenet": (MobileNet, True), "fashion_vgg": (Vgg, True),
}  # fmt: skip  # the module, and whether its batch norm was folded
SAMPLES = 256
Cells = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Given:
    """The network, and the images that it is measured on and may be calibrated on."""

    path: Path
    model: nn.Module
    image: Tensor
    labels: np.ndarray
    samples: Tensor

    def cell(self, part: str, ratio: float, who: str, criterion: str, repair: str, top1: float) -> dict[str, Any]:
        """A measurement in the form that `bench_accuracy` keeps."""
        return {
            "network": self.path.stem, "part": part, "ratio": ratio, "who": who, "criterion": criterion,
            "repair": repair, "top1": top1, "images": len(self.labels),
        }  # fmt: skip  # names and values

    def top1(self, model: nn.Module) -> float:
        """In percent."""
        model.eval()
        with torch.no_grad():
            found = torch.cat([model(part).argmax(1) for part in self.image.split(250)])
        return 100 * float((found.numpy() == self.labels).mean())


def load(path: Path) -> nn.Module:
    """The PyTorch module of an ONNX file, whose initializers have the names of the module's state."""
    build, folded = BUILD[path.stem]
    model = build().eval()
    if folded:
        fold_batch_norms(model)
    stored = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in onnx.load(path).graph.initializer}
    wanted = model.state_dict()
    for name in [n for n in wanted if n not in stored and not n.endswith("num_batches_tracked")]:
        stored[name] = _under_another_name(onnx.load(path).graph, name)
    model.load_state_dict({n: stored.get(n, value) for n, value in wanted.items()})
    return model


def _under_another_name(graph: onnx.GraphProto, name: str) -> Tensor:
    """A weight that has lost its name: equal biases are stored once, and a dense layer may have become a MatMul."""
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    same = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Identity"}
    module, _, kind = name.rpartition(".")
    norm = next((n for n in graph.node if n.op_type == "BatchNormalization" and f"{module}.weight" in n.input), None)
    if norm is not None and kind == "bias":
        return torch.from_numpy(stored[same.get(norm.input[2], norm.input[2])].copy())
    add = next(n for n in graph.node if n.op_type == "Add" and f"{module}.bias" in n.input)
    product = next(n for n in graph.node if n.op_type == "MatMul" and n.output[0] in add.input)
    return torch.from_numpy(stored[product.input[1]].T.copy())


# ---------------------------------------------------------------- Torch-Pruning
IMPORTANCE = {
    "L1": lambda: tp.importance.MagnitudeImportance(p=1),
    "L2": lambda: tp.importance.MagnitudeImportance(p=2),
    "BN-scale": lambda: tp.importance.BNScaleImportance(),
}


def torch_pruning(given: Given, part: str, ratio: float) -> Cells:
    """Torch-Pruning by each importance; where there is batch norm, also with its statistics taken anew on samples."""
    norms = any(isinstance(m, nn.BatchNorm2d) for m in given.model.modules())
    for name, importance in IMPORTANCE.items():
        if name == "BN-scale" and (not norms or isinstance(given.model, Vit)):
            continue  # no layer inside of a transformer's blocks has a batch norm
        model = copy.deepcopy(given.model)
        heads = {m.qkv: m.heads for m in model.modules() if hasattr(m, "qkv")}
        pruner = tp.pruner.BasePruner(
            model, given.image[:1], importance(), pruning_ratio=ratio, ignored_layers=ignored(model, part),
            num_heads=heads, prune_head_dims=True, prune_num_heads=False,
        )  # fmt: skip  # two lines
        pruner.step()
        restore_heads(model, pruner)
        yield given.cell(part, ratio, "Torch-Pruning", name, "none", given.top1(model))
        if norms:
            restandardise(model, given.samples)
            yield given.cell(part, ratio, "Torch-Pruning", name, "batch norm anew+samples", given.top1(model))


def restore_heads(model: nn.Module, pruner: Any) -> None:
    """The width of a head is a number in the module; it follows the pruned layer."""
    for module in model.modules():
        if hasattr(module, "qkv"):
            module.heads = pruner.num_heads[module.qkv]
            module.size = module.qkv.out_features // 3 // module.heads


def ignored(model: nn.Module, part: str) -> list[nn.Module]:
    """Layers whose outputs stay: the classes; and for "inner" all that write to a sum of two branches."""
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    last = layers[-1]
    if part == "whole":
        return [last]
    inside = ("conv1", "expand.conv", "depthwise.conv", "se.reduce", "se.expand", "attention.qkv", "fc1", "head.conv")
    if isinstance(model, (Vgg, SlimVgg16)):
        return [last]
    names = {m: n for n, m in model.named_modules()}
    return [m for m in layers if m is last or not names[m].endswith(inside)]


# ---------------------------------------------------------------- onnxsim
def onnxsim_pruning(given: Given, ratio: float) -> Cells:
    """onnxsim's structured pruning with its criterion on samples, as it is and with its own ridge repair.

    Simplified first, since it finds no chain through a batch norm that stands by itself.
    """
    import onnxruntime as ort
    from onnxsim import simplify
    from onnxsim.finetune import apply_pruning_finetune
    from onnxsim.pruning import apply_structured_wanda_pruning

    data = [{"image": part.numpy()} for part in given.samples.split(32)]
    original, _ = simplify(onnx.load(given.path))
    for repair in ("none", "ridge+samples"):
        try:
            if repair == "none":
                pruned = apply_structured_wanda_pruning(original, calibration_data=data, sparsity=ratio)
                found = pruned
            else:
                found = apply_pruning_finetune(original, pruned, calibration_data=data)
            session = ort.InferenceSession(found.SerializeToString(), providers=["CPUExecutionProvider"])
            out = np.concatenate([session.run(None, {"image": p.numpy()})[0] for p in given.image.split(250)])
        except Exception as error:  # whatever a peer raises is its result
            print(f"onnxsim, {given.path.stem}, {ratio}, {repair}: {type(error).__name__}: {error}"[:300], flush=True)
            continue
        top1 = 100 * float((out.argmax(1) == given.labels).mean())
        left = sum(np.prod(t.dims) for t in found.graph.initializer) / sum(
            np.prod(t.dims) for t in original.graph.initializer
        )
        print(f"onnxsim, {given.path.stem}, {ratio}: {left:.2f} of the parameters are left", flush=True)
        yield given.cell("whole", ratio, "onnxsim.pruning", "Wanda", repair, top1)


# ---------------------------------------------------------------- merging, folding
def merging(given: Given, part: str, ratio: float) -> Cells:
    """Neuron Merging, and folding before and after REPAIR, on networks of batch-normed convolutions."""
    if not isinstance(given.model, (ResNet, SlimVgg16)):
        return
    if part == "inner" or isinstance(given.model, SlimVgg16):
        model = copy.deepcopy(given.model)
        merge(stages_of(model, inner=True), ratio)
        yield given.cell(part, ratio, "Neuron Merging", "L2", "merged", given.top1(model))
    model = copy.deepcopy(given.model)
    fold(stages_of(model, inner=part == "inner"), ratio)
    yield given.cell(part, ratio, "model folding", "k-means", "folded", given.top1(model))
    restandardise(model, given.samples)
    yield given.cell(part, ratio, "model folding", "k-means", "REPAIR+samples", given.top1(model))


def read(args: argparse.Namespace) -> Given:
    """The network and the data."""
    with np.load(args.eval) as data:
        image, labels = data["image"][: args.images], data["labels"][: args.images]
    with np.load(args.calibrate) as data:
        samples = data["image"][:SAMPLES]
    return Given(args.model, load(args.model), torch.from_numpy(image), labels, torch.from_numpy(samples))


def main() -> None:
    """Parse the command line, prune, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--eval", type=Path, required=True)
    parser.add_argument("--calibrate", type=Path, required=True)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--ratios", default="0.3,0.5")
    parser.add_argument("--parts", default="inner,whole")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    given = read(args)
    print(f"{args.model.stem}: {given.top1(given.model):.2f} as a PyTorch module", flush=True)
    for ratio in map(float, args.ratios.split(",")):
        for part in args.parts.split(","):
            print(json.dumps([*torch_pruning(given, part, ratio), *merging(given, part, ratio)]), flush=True)
        if "whole" in args.parts:
            print(json.dumps(list(onnxsim_pruning(given, ratio))), flush=True)


if __name__ == "__main__":
    main()
