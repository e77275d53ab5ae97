"""What `train_cifar.py` trains: ResNet-20, VGG-16 with batch norm at a quarter of its widths, a small ViT."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from train_models import CLASSES, ConvNorm, Normalize, ResNet

COLORS = 3
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""The widths of VGG-16 as published; 0 is a pooling."""


def normalize() -> Normalize:
    """The mean and deviation of CIFAR-10, one for all colours, inside the graph."""
    return Normalize(mean=0.473, deviation=0.251)


def build_resnet20() -> ResNet:
    """The CIFAR form of ResNet: full resolution in the first stage, three blocks a stage."""
    return ResNet(widths=(16, 32, 64), depth=3, strides=(1, 2, 2), colors=COLORS, normalize=normalize())


class SlimVgg16(nn.Module):
    """VGG-16 with batch norm, its widths divided by `slim`, and one dense layer as is usual on CIFAR."""

    def __init__(self, slim: int = 4) -> None:
        super().__init__()
        self.normalize = normalize()
        layers: list[nn.Module] = []
        inputs = COLORS
        for width in VGG16:
            if width:
                layers.append(ConvNorm(inputs, width // slim, act=nn.ReLU()))
                inputs = width // slim
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.features(self.normalize(image)).flatten(1))


class Attention(nn.Module):
    """Multi-head self-attention with one dense layer for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.scale = self.size**-0.5  # stays where a pruner makes heads smaller
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.shape[1]
        parts = self.qkv(x).reshape(-1, tokens, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)  # Torch-Pruning 1.6 follows an unbind, and fails at indices or chunks
        weight = (query @ key.transpose(-2, -1) * self.scale).softmax(-1)
        return self.project((weight @ value).transpose(1, 2).reshape(-1, tokens, self.heads * self.size))


class Block(nn.Module):
    """Attention and feed-forward, each behind a layer norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.fc1, self.act, self.fc2 = (
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


class Vit(nn.Module):
    """A small vision transformer: three strided convolutions make 4x4 tokens, then blocks, then the mean is classified.

    Convolutions in front, and few tokens, get a transformer somewhere within the epochs that a CPU can give it.
    """

    def __init__(self, width: int = 128, depth: int = 6, heads: int = 4, hidden: int = 384) -> None:
        super().__init__()
        self.normalize = normalize()
        self.stem = nn.Sequential(
            ConvNorm(COLORS, 32, stride=2, act=nn.ReLU()), ConvNorm(32, 64, stride=2, act=nn.ReLU())
        )
        self.patches = nn.Conv2d(64, width, 2, 2)
        self.position = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(self.stem(self.normalize(image))).flatten(2).transpose(1, 2) + self.position
        return self.fc(self.norm(self.blocks(x)).mean(1))
