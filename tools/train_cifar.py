#!/usr/bin/env python3
"""Trains ResNet-20, a slimmed VGG-16 or a small ViT on CIFAR-10 and exports it to ONNX, batch norm unfolded.

For benchmarks only: neither the images nor the networks belong in the repository. It wants what `train_models.py`
beside it wants, and Pillow. The images come as two `.npz` files with `jpeg` (all files' bytes in a row), `offset`
(n + 1) and `label`; image i is the 32x32 JPEG `jpeg[offset[i]:offset[i + 1]]`.

    python tools/train_cifar.py --net resnet20 --half --train cifar10_train.npz --test cifar10_test.npz --out DIR

Writes `cifar_NET.onnx`, `cifar_NET.pt` (the state of the PyTorch module, for pruners that want one), `cifar10_eval.npz`
(all 10,000 test images and labels) and `cifar10_calibration.npz` (512 training images) to DIR. With `--half` on a CPU
with AVX512-BF16 an epoch of ResNet-20 takes a minute on two idle cores, without it several.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from cifar_networks import SlimVgg16, Vit, build_resnet20
from PIL import Image
from torch import nn
from train_models import (
    CALIBRATION_IMAGES,
    Schedule,
    Split,
    accuracy,
    check_export,
    export,
    make_optimizer,
    run_onnx,
    seed_everything,
    train,
)


def make_adamw(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """AdamW, with which transformers train; no decay on norms and biases."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}], lr=rate
    )


@dataclass(frozen=True)
class Recipe:
    """How one network is built and trained."""

    build: Callable[[], nn.Module]
    epochs: int
    rate: float
    optimizer: Callable[[nn.Module, float], torch.optim.Optimizer]
    norms: bool
    """Whether the network has batch norms, which then must be in the exported graph."""


RECIPES = {
    "resnet20": Recipe(build_resnet20, epochs=10, rate=0.2, optimizer=make_optimizer, norms=True),
    "vgg16_slim": Recipe(SlimVgg16, epochs=12, rate=0.1, optimizer=make_optimizer, norms=True),
    "vit": Recipe(Vit, epochs=15, rate=1e-3, optimizer=make_adamw, norms=True),
}


def read_jpegs(path: Path) -> Split:
    """Decodes every image of one file into float32 [n, 3, 32, 32] in [0, 1]."""
    with np.load(path, allow_pickle=False) as data:
        jpeg, offset, labels = data["jpeg"], data["offset"], data["label"].astype(np.int64)
    image = np.empty((len(labels), 32, 32, 3), dtype=np.uint8)
    for i in range(len(labels)):
        image[i] = np.asarray(Image.open(io.BytesIO(jpeg[offset[i] : offset[i + 1]].tobytes())).convert("RGB"))
    scaled = image.transpose(0, 3, 1, 2).astype(np.float32) / 255.0
    return Split(torch.from_numpy(scaled), torch.from_numpy(labels))


def write_data_files(train_split: Split, test_split: Split, out: Path) -> None:
    """Writes the images in the form that `onnx-attnprune` reads."""
    np.savez_compressed(out / "cifar10_eval.npz", image=test_split.image.numpy(), labels=test_split.labels.numpy())
    np.savez_compressed(out / "cifar10_calibration.npz", image=train_split.image[:CALIBRATION_IMAGES].numpy())


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train one network on CIFAR-10 and export it.")
    parser.add_argument("--net", choices=tuple(RECIPES), default="resnet20", help="the network (%(default)s)")
    parser.add_argument("--train", type=Path, required=True, help="the .npz file of training images")
    parser.add_argument("--test", type=Path, required=True, help="the .npz file of test images")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to, outside of the repository")
    parser.add_argument("--epochs", type=int, help="epochs of training (default: the network's own)")
    parser.add_argument("--half", action="store_true", help="compute in bfloat16, weights in float32")
    parser.add_argument("--seed", type=int, default=1, help="seed of every random choice (%(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="images a step (%(default)s)")
    parser.add_argument("--rate", type=float, help="highest learning rate of the cycle (default: the network's own)")
    parser.add_argument("--shift", type=int, default=2, help="pixels that augmentation moves by (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; others round otherwise (%(default)s)")
    args = parser.parse_args()
    if args.epochs is not None and args.epochs < 1:
        parser.error("--epochs must be at least 1")
    return args


def main() -> None:
    """Trains, exports, checks and measures."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    train_split, test_split = read_jpegs(args.train), read_jpegs(args.test)
    write_data_files(train_split, test_split, args.out)
    seed_everything(args.seed)
    recipe = RECIPES[args.net]
    model = recipe.build()
    schedule = Schedule(args.epochs or recipe.epochs, args.batch, args.rate or recipe.rate, args.shift, args.half)
    print(f"{args.net}: {sum(p.numel() for p in model.parameters())} parameters, {schedule}", flush=True)
    train(model, train_split, schedule, recipe.optimizer)
    torch.save(model.state_dict(), args.out / f"cifar_{args.net}.pt")
    path = args.out / f"cifar_{args.net}.onnx"
    export(model, path, test_split.image[:2])
    check_export(model, path, not recipe.norms, test_split.image[:256])
    logits = run_onnx(path, test_split.image)
    print(f"  accuracy {accuracy(logits, test_split.labels):.4f} on {len(logits)} test images")


if __name__ == "__main__":
    main()
