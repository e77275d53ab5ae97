#!/usr/bin/env python3
"""Trains the small real networks in `models/` on Fashion-MNIST and exports them to ONNX.

The package itself never needs PyTorch: only this command does, and only to make the files again. It wants Python 3.10
or newer with `torch`, `onnx`, `onnxscript`, `onnxruntime` and `numpy`, and the four IDX `.gz` files of Fashion-MNIST
(`apt-get install dataset-fashion-mnist` puts them where `--data` looks by default). On one CPU core an epoch takes one
to two minutes, all three networks about half an hour; a second thread (`--threads 2`) helps on an idle machine and
hurts on a busy one.

    python tools/train_models.py                                  # all three networks and the data files
    python tools/train_models.py resnet --epochs 1 --out DIR      # a quick try elsewhere
    python tools/train_models.py --data-only                      # only the two .npz files

The networks differ in what a pruner has to understand: `resnet` keeps its BatchNormalization nodes and couples channels
over additions, `mobilenet` has depthwise convolutions, squeeze-and-excite and hard-swish with batch norm folded, `vgg`
flattens an image into a dense layer. Widths are multiples of 16, as pruned widths are rounded to those.

The test images never choose anything: the number of epochs is fixed beforehand and the last weights are the result.
"""

from __future__ import annotations

import argparse
import gzip
import random
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (PyTorch's own custom)
from torch.nn.utils.fusion import fuse_conv_bn_eval

DEFAULT_DATA = Path("/usr/share/datasets/fashion-mnist")
CLASSES = 10
EVAL_IMAGES = 2_000
CALIBRATION_IMAGES = 512
OPSET = 17
MAX_BYTES = 2_000_000
TOLERANCE = 1e-4


# ---------------------------------------------------------------- data


@dataclass(frozen=True)
class Split:
    """Images as float32 [n, channels, height, width] in [0, 1] and their labels as int64 [n]."""

    image: Tensor
    labels: Tensor


def read_idx(path: Path) -> np.ndarray:
    """Reads one gzipped IDX file of unsigned bytes; the magic is checked so that a wrong file is an error."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\x00\x00\x08":
        raise SystemExit(f"{path}: not an IDX file of unsigned bytes")
    rank = raw[3]
    shape = np.frombuffer(raw, dtype=">i4", count=rank, offset=4)
    return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_split(folder: Path, name: str) -> Split:
    """Reads `train` or `t10k`."""
    image = read_idx(folder / f"{name}-images-idx3-ubyte.gz")[:, None].astype(np.float32) / 255.0
    labels = read_idx(folder / f"{name}-labels-idx1-ubyte.gz").astype(np.int64)
    return Split(torch.from_numpy(image), torch.from_numpy(labels))


def write_data_files(train: Split, test: Split, out: Path) -> None:
    """Writes the images that travel with the project: the tool's evaluation and calibration examples."""
    evaluation = {"image": test.image[:EVAL_IMAGES].numpy(), "labels": test.labels[:EVAL_IMAGES].numpy()}
    np.savez_compressed(out / "fashion_mnist_eval.npz", **evaluation)
    np.savez_compressed(out / "fashion_mnist_calibration.npz", image=train.image[:CALIBRATION_IMAGES].numpy())


def augment(image: Tensor, pad: int) -> Tensor:
    """Shifts by up to `pad` pixels and mirrors, each image on its own, in two tensor operations for the whole batch."""
    count, _, height, width = image.shape
    shift = torch.randint(0, 2 * pad + 1, (2, count, 1))
    flip = torch.rand(count, 1) < 0.5
    rows = torch.arange(height)[None] + shift[0]
    columns = torch.arange(width)[None] + shift[1]
    columns = torch.where(flip, columns.flip(1), columns)
    padded = F.pad(image, (pad, pad, pad, pad)).permute(0, 2, 3, 1)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def batches(split: Split, size: int, shift: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled, augmented, whole batches of one epoch."""
    order = torch.randperm(len(split.labels))
    for start in range(0, len(order) - size + 1, size):
        chosen = order[start : start + size]
        yield augment(split.image[chosen], shift), split.labels[chosen]


# ---------------------------------------------------------------- networks


class Normalize(nn.Module):
    """(image - mean) / deviation, inside the graph so that callers feed plain [0, 1] pixels."""

    def __init__(self, mean: float = 0.286, deviation: float = 0.353) -> None:
        super().__init__()
        self.mean, self.deviation = mean, deviation

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.deviation


class ConvNorm(nn.Sequential):
    """Convolution and batch norm with "same" padding, and an activation if one is given."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        if act is not None:
            self.act = act


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = ConvNorm(inputs, outputs, kernel=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """Stages of `depth` residual blocks; by default each stage halves the image first (28 -> 14 -> 7 -> 4)."""

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 96),
        depth: int = 2,
        strides: tuple[int, ...] = (2, 2, 2),
        colors: int = 1,
        normalize: Normalize | None = None,
    ) -> None:
        super().__init__()
        self.normalize = normalize or Normalize()
        self.stem = ConvNorm(colors, widths[0], act=nn.ReLU())
        stages, inputs = [], widths[0]
        for width, stride in zip(widths, strides, strict=True):
            blocks = [ResidualBlock(inputs, width, stride), *(ResidualBlock(width, width, 1) for _ in range(depth - 1))]
            stages.append(nn.Sequential(*blocks))
            inputs = width
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stages(self.stem(self.normalize(image)))
        return self.fc(self.pool(x).flatten(1))


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.relu = nn.ReLU()
        self.expand = nn.Conv2d(channels // 4, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.expand(self.relu(self.reduce(self.pool(x)))))


class InvertedResidual(nn.Module):
    """Expand (if that widens), depthwise, squeeze-and-excite, project; with a shortcut where the shape stays."""

    def __init__(self, inputs: int, hidden: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.expand: nn.Module = nn.Identity()
        if hidden != inputs:
            self.expand = ConvNorm(inputs, hidden, kernel=1, act=nn.Hardswish())
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride, groups=hidden, act=nn.Hardswish())
        self.se = SqueezeExcite(hidden)
        self.project = ConvNorm(hidden, outputs, kernel=1)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.se(self.depthwise(self.expand(x))))
        return x + y if self.has_shortcut else y


class MobileNet(nn.Module):
    """MobileNetV3 in small: strides 28 -> 14 -> 7 -> 4, and its two-layer head."""

    # inputs, hidden, outputs, kernel, stride
    BLOCKS = (
        (32, 32, 32, 3, 2),
        (32, 96, 32, 3, 1),
        (32, 128, 48, 5, 2),
        (48, 160, 48, 5, 1),
        (48, 192, 64, 5, 2),
        (64, 192, 64, 5, 1),
    )

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.stem = ConvNorm(1, 32, act=nn.Hardswish())
        self.blocks = nn.Sequential(*(InvertedResidual(*block) for block in self.BLOCKS))
        self.head = ConvNorm(64, 256, kernel=1, act=nn.Hardswish())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Linear(256, 256)
        self.act = nn.Hardswish()
        self.dropout = nn.Dropout(0.1)
        self.fc2 = nn.Linear(256, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        x = self.head(self.blocks(self.stem(self.normalize(image))))
        return self.fc2(self.dropout(self.act(self.fc1(self.pool(x).flatten(1)))))


class Vgg(nn.Module):
    """Plain convolutions and poolings, then a 96x3x3 image flattened into dense layers; batch norm only in training."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, pool in ((1, 32, True), (32, 64, True), (64, 96, False), (96, 96, True)):
            layers.append(ConvNorm(inputs, outputs, act=nn.ReLU()))
            if pool:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.fc1 = nn.Linear(96 * 3 * 3, 128)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.3)
        self.fc2 = nn.Linear(128, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        x = self.features(image).flatten(1)
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


@dataclass(frozen=True)
class Schedule:
    """How long and how a network is trained."""

    epochs: int
    batch: int
    rate: float
    """The highest learning rate of the cycle."""
    shift: int
    """Augmentation moves each image by up to so many pixels; the fewer epochs, the less of it pays."""
    half: bool = False
    """Forward and backward in bfloat16, weights in float32: several times faster where the CPU has AVX512-BF16."""


@dataclass(frozen=True)
class Recipe:
    """How one network is built, trained and exported."""

    build: Callable[[], nn.Module]
    epochs: int
    fold: bool
    """Whether batch norm is folded into the convolutions on export."""


RECIPES = {
    "resnet": Recipe(ResNet, epochs=6, fold=False),
    "mobilenet": Recipe(MobileNet, epochs=8, fold=True),
    "vgg": Recipe(Vgg, epochs=8, fold=True),
}


# ---------------------------------------------------------------- training


def make_optimizer(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; no decay on batch norm and biases, whose size means something to a pruner."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)


def train_epoch(
    model: nn.Module,
    data: Split,
    schedule: Schedule,
    optimizer: torch.optim.Optimizer,
    cycle: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """One pass over the data; returns the mean loss."""
    total, steps = 0.0, 0
    for image, labels in batches(data, schedule.batch, schedule.shift):
        with torch.autocast("cpu", torch.bfloat16, enabled=schedule.half):
            logits = model(image.to(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        cycle.step()
        total, steps = total + loss.item(), steps + 1
    return total / steps


def train(
    model: nn.Module,
    data: Split,
    schedule: Schedule,
    make: Callable[[nn.Module, float], torch.optim.Optimizer] = make_optimizer,
) -> None:
    """Trains with a one-cycle rate, which gets a small network near its best in few epochs."""
    model.to(memory_format=torch.channels_last).train()
    optimizer = make(model, schedule.rate)
    steps = schedule.epochs * (len(data.labels) // schedule.batch)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=schedule.rate, total_steps=steps, pct_start=0.25)
    for epoch in range(1, schedule.epochs + 1):
        started = time.perf_counter()
        loss = train_epoch(model, data, schedule, optimizer, cycle)
        print(f"  epoch {epoch}/{schedule.epochs}: loss {loss:.4f}, {time.perf_counter() - started:.0f} s", flush=True)
    model.to(memory_format=torch.contiguous_format).eval()


# ---------------------------------------------------------------- export


def fold_batch_norms(model: nn.Module) -> None:
    """Folds each batch norm into its convolution; the exporter could too, but would name the weights by numbers."""
    for module in model.modules():
        if isinstance(module, ConvNorm):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = nn.Identity()


def export(model: nn.Module, path: Path, example: Tensor) -> None:
    """Writes the ONNX file. PRESERVE and no constant folding keep the graph as the modules state it, batch norm too."""
    with warnings.catch_warnings():
        # The TorchScript exporter announces that it is old, but its names are the clearer ones.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            str(path),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            dynamo=False,
        )


def run_onnx(path: Path, image: Tensor, size: int = 500) -> np.ndarray:
    """The logits of the exported file on ONNX Runtime's CPU provider."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["logits"], {"image": part.numpy()})[0] for part in image.split(size)])


def check_export(model: nn.Module, path: Path, folded: bool, image: Tensor) -> None:
    """Stops with an error if the file is not what `models/README.md` promises."""
    graph = onnx.load(path)
    onnx.checker.check_model(graph, full_check=True)
    has_norms = any(node.op_type == "BatchNormalization" for node in graph.graph.node)
    if has_norms == folded:
        raise SystemExit(f"{path}: batch norm should be {'folded' if folded else 'in the graph'}")
    with torch.no_grad():
        expected = model(image).numpy()
    difference = float(np.abs(run_onnx(path, image) - expected).max())
    if difference > TOLERANCE:
        raise SystemExit(f"{path}: ONNX Runtime differs from PyTorch by {difference}")
    print(f"  {path.stat().st_size} bytes, within {difference:.1e} of PyTorch on ONNX Runtime")


def accuracy(logits: np.ndarray, labels: Tensor) -> float:
    """The share of images whose largest logit is the label."""
    return float((logits.argmax(axis=1) == labels.numpy()).mean())


def make_model(name: str, train_split: Split, test_split: Split, args: argparse.Namespace) -> None:
    """Trains, exports, checks and measures one network."""
    recipe = RECIPES[name]
    seed_everything(args.seed)
    model = recipe.build()
    schedule = Schedule(args.epochs or recipe.epochs, args.batch, args.rate, args.shift)
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, {schedule}", flush=True)
    train(model, train_split, schedule)
    if recipe.fold:
        fold_batch_norms(model)
    path = args.out / f"fashion_{name}.onnx"
    partial = path.with_suffix(".onnx.partial")
    export(model, partial, test_split.image[:2])
    check_export(model, partial, recipe.fold, test_split.image[:256])
    if partial.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{partial}: larger than {MAX_BYTES} bytes")
    partial.replace(path)
    logits = run_onnx(path, test_split.image)
    whole, head = accuracy(logits, test_split.labels), accuracy(logits[:EVAL_IMAGES], test_split.labels[:EVAL_IMAGES])
    print(f"  accuracy {whole:.4f} on {len(logits)} test images, {head:.4f} on the first {EVAL_IMAGES}", flush=True)


def seed_everything(seed: int) -> None:
    """Makes a run repeatable on the same machine, PyTorch and number of threads; others round otherwise."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # needless here, and it costs time


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the networks of models/ on Fashion-MNIST and export them.")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(RECIPES)} (default: all)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of the IDX .gz files (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("models"), help="folder to write to (%(default)s)")
    parser.add_argument("--epochs", type=int, help="epochs of training (default: each network's own)")
    parser.add_argument("--seed", type=int, default=1, help="seed of every random choice (%(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="images a step (%(default)s)")
    parser.add_argument("--rate", type=float, default=0.1, help="highest learning rate of the cycle (%(default)s)")
    parser.add_argument("--shift", type=int, default=1, help="pixels that augmentation moves by (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; others round otherwise (%(default)s)")
    parser.add_argument("--data-only", action="store_true", help="write only the evaluation and calibration files")
    args = parser.parse_args()
    if unknown := set(args.models) - set(RECIPES):
        parser.error(f"unknown network: {', '.join(sorted(unknown))} (choose from {', '.join(RECIPES)})")
    if args.epochs is not None and args.epochs < 1:
        parser.error("--epochs must be at least 1")
    return args


def main() -> None:
    """Writes the data files, then makes the networks one after the other."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    train_split, test_split = read_split(args.data, "train"), read_split(args.data, "t10k")
    write_data_files(train_split, test_split, args.out)
    if not args.data_only:
        for name in args.models or RECIPES:
            make_model(name, train_split, test_split, args)


if __name__ == "__main__":
    main()
