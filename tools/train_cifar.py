#!/usr/bin/env python3
"""Trains ResNet-20 on CIFAR-10 and exports it to ONNX, batch norm unfolded: the network that pruning papers report on.

For benchmarks only: neither the images nor the network belong in the repository. It wants what `train_models.py`
beside it wants, and Pillow. The images come as two `.npz` files with `jpeg` (all files' bytes in a row), `offset`
(n + 1) and `label`; image i is the 32x32 JPEG `jpeg[offset[i]:offset[i + 1]]`. At 41 million multiply-accumulates an
image an epoch takes minutes on two CPU cores, so the default of 30 epochs takes hours there; 10 do for a try.

    python tools/train_cifar.py --train cifar10_train.npz --test cifar10_test.npz --out DIR

Writes `cifar_resnet20.onnx`, `cifar10_eval.npz` (all 10,000 test images and labels) and `cifar10_calibration.npz` (512
training images) to DIR.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from train_models import (
    CALIBRATION_IMAGES,
    Normalize,
    ResNet,
    Schedule,
    Split,
    accuracy,
    check_export,
    export,
    run_onnx,
    seed_everything,
    train,
)


def read_jpegs(path: Path) -> Split:
    """Decodes every image of one file into float32 [n, 3, 32, 32] in [0, 1]."""
    with np.load(path, allow_pickle=False) as data:
        jpeg, offset, labels = data["jpeg"], data["offset"], data["label"].astype(np.int64)
    image = np.empty((len(labels), 32, 32, 3), dtype=np.uint8)
    for i in range(len(labels)):
        image[i] = np.asarray(Image.open(io.BytesIO(jpeg[offset[i] : offset[i + 1]].tobytes())).convert("RGB"))
    scaled = image.transpose(0, 3, 1, 2).astype(np.float32) / 255.0
    return Split(torch.from_numpy(scaled), torch.from_numpy(labels))


def build_resnet20() -> ResNet:
    """The CIFAR form of ResNet: full resolution in the first stage, three blocks a stage."""
    normalize = Normalize(mean=0.473, deviation=0.251)
    return ResNet(widths=(16, 32, 64), depth=3, strides=(1, 2, 2), colors=3, normalize=normalize)


def write_data_files(train_split: Split, test_split: Split, out: Path) -> None:
    """Writes the images in the form that `onnx-attnprune` reads."""
    np.savez_compressed(out / "cifar10_eval.npz", image=test_split.image.numpy(), labels=test_split.labels.numpy())
    np.savez_compressed(out / "cifar10_calibration.npz", image=train_split.image[:CALIBRATION_IMAGES].numpy())


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train ResNet-20 on CIFAR-10 and export it.")
    parser.add_argument("--train", type=Path, required=True, help="the .npz file of training images")
    parser.add_argument("--test", type=Path, required=True, help="the .npz file of test images")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to, outside of the repository")
    parser.add_argument("--epochs", type=int, default=30, help="epochs of training (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of every random choice (%(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="images a step (%(default)s)")
    parser.add_argument("--rate", type=float, default=0.1, help="highest learning rate of the cycle (%(default)s)")
    parser.add_argument("--shift", type=int, default=2, help="pixels that augmentation moves by (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads; others round otherwise (%(default)s)")
    args = parser.parse_args()
    if args.epochs < 1:
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
    model = build_resnet20()
    print(f"resnet20: {sum(p.numel() for p in model.parameters())} parameters, {args.epochs} epochs", flush=True)
    train(model, train_split, Schedule(args.epochs, args.batch, args.rate, args.shift))
    path = args.out / "cifar_resnet20.onnx"
    export(model, path, test_split.image[:2])
    check_export(model, path, False, test_split.image[:256])
    logits = run_onnx(path, test_split.image)
    print(f"  accuracy {accuracy(logits, test_split.labels):.4f} on {len(logits)} test images")


if __name__ == "__main__":
    main()
