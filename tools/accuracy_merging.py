"""Neuron Merging and model folding by their papers, on batch-normed convolutions; for `bench_accuracy` only.

Channels are silenced, not cut: a merged channel's producers are zeroed and nothing reads it any more, which computes
the same as the smaller network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from cifar_networks import SlimVgg16
from torch import Tensor, nn
from train_models import ConvNorm, ResidualBlock, ResNet

BIAS_SHARE = 0.15
"""Of the distance of two filters of Neuron Merging: what biases count beside the cosine (its lambda is 0.85)."""


@dataclass(frozen=True)
class Stage:
    """Coupled channels: who writes them (each with its batch norm) and who reads them."""

    producers: list[tuple[nn.Conv2d, nn.BatchNorm2d]]
    consumers: list[nn.Conv2d | nn.Linear]

    @property
    def size(self) -> int:
        """How many channels."""
        return self.producers[0][0].out_channels


def stages_of(model: nn.Module, inner: bool) -> list[Stage]:
    """The coupled channels of a network; only those inside of residual blocks, or all."""
    if isinstance(model, SlimVgg16):
        layers = [m for m in model.features if isinstance(m, ConvNorm)]
        readers: list[nn.Conv2d | nn.Linear] = [*(m.conv for m in layers[1:]), model.fc]
        return [Stage([(m.conv, m.bn)], [reader]) for m, reader in zip(layers, readers, strict=True)]
    assert isinstance(model, ResNet)
    blocks = [b for stage in model.stages for b in stage]
    found = [Stage([(b.conv1, b.bn1)], [b.conv2]) for b in blocks]
    return found if inner else [*found, *_streams(model, blocks)]


def _streams(model: ResNet, blocks: list[ResidualBlock]) -> list[Stage]:
    """Each stretch of the residual stream between two changes of its width."""
    streams = [Stage([(model.stem.conv, model.stem.bn)], [])]
    for b in blocks:
        streams[-1].consumers.append(b.conv1)
        if isinstance(b.shortcut, ConvNorm):
            streams[-1].consumers.append(b.shortcut.conv)
            streams.append(Stage([(b.shortcut.conv, b.shortcut.bn)], []))
        streams[-1].producers.append((b.conv2, b.bn2))
    streams[-1].consumers.append(model.fc)
    return streams


def kept_count(stage: Stage, ratio: float) -> int:
    """How many channels stay: as many as in the other rows of the table."""
    return max(1, stage.size - round(stage.size * ratio))


def _as_biased(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The filters and biases of a convolution with its batch norm folded in, one row a channel."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return conv.weight.flatten(1) * scale[:, None], norm.bias - norm.running_mean * scale


# ---------------------------------------------------------------- Neuron Merging
@torch.no_grad()
def merge(stages: list[Stage], ratio: float) -> None:
    """Each filter that goes (the lowest by L2) is added to its nearest kept one, scaled, in the layer that reads them.

    With y = relu(w x + b), a removed channel is taken for s times a kept one, s = |w_p| / |w_k|; nearness is the cosine
    of the filters and the distance of their scaled biases, in the proportion of the paper.
    """
    for stage in stages:
        (conv, norm), count = stage.producers[0], kept_count(stage, ratio)
        filters, bias = _as_biased(conv, norm)
        norms = filters.norm(dim=1) + 1e-12
        kept = conv.weight.flatten(1).norm(dim=1).argsort(descending=True)[:count]
        gone = [k for k in range(stage.size) if k not in set(kept.tolist())]
        for p in gone:
            scale = norms[p] / norms[kept]
            cosine = (filters[kept] @ filters[p]) / (norms[kept] * norms[p])
            apart = (bias[p] - scale * bias[kept]).abs() / norms[p]
            nearest = int(((1 - BIAS_SHARE) * (1 - cosine) + BIAS_SHARE * apart).argmin())
            add_reader(stage, p, int(kept[nearest]), float(scale[nearest]))
        silence(stage, gone)


def add_reader(stage: Stage, gone: int, kept: int, scale: float) -> None:
    """What reads one channel reads `scale` times another instead."""
    for reader in stage.consumers:
        reader.weight[:, kept] += scale * reader.weight[:, gone]


def silence(stage: Stage, gone: list[int]) -> None:
    """Nothing reads these channels any more, and nothing writes them."""
    for reader in stage.consumers:
        reader.weight[:, gone] = 0
    for conv, norm in stage.producers:
        conv.weight[gone] = 0
        norm.weight[gone] = 0
        norm.bias[gone] = 0


# ---------------------------------------------------------------- folding
@torch.no_grad()
def fold(stages: list[Stage], ratio: float, seed: int = 0) -> None:
    """Clusters of like channels (k-means over all that writes them, batch norm folded in) become their means.

    Means are taken of the filters over their deviations, and of gamma and beta, so that statistics taken anew
    on samples put the merged channels where gamma and beta want them.
    """
    from sklearn.cluster import KMeans

    for stage in stages:
        rows = torch.cat([torch.cat((f, b[:, None]), 1) for f, b in map(_folded, stage.producers)], 1)
        found = KMeans(kept_count(stage, ratio), n_init=10, random_state=seed).fit_predict(rows.double().numpy())
        gone = []
        for cluster in range(found.max() + 1):
            members = np.flatnonzero(found == cluster).tolist()
            first, rest = members[0], members[1:]
            for conv, norm in stage.producers:
                deviation = (norm.running_var + norm.eps).sqrt()
                conv.weight[first] = (conv.weight / deviation[:, None, None, None])[members].mean(0)
                norm.running_mean[first] = (norm.running_mean / deviation)[members].mean()
                norm.running_var[first] = 1 - norm.eps
                norm.weight[first], norm.bias[first] = norm.weight[members].mean(), norm.bias[members].mean()
            for other in rest:
                add_reader(stage, other, first, 1.0)
            gone.extend(rest)
        silence(stage, gone)


def _folded(producer: tuple[nn.Conv2d, nn.BatchNorm2d]) -> tuple[Tensor, Tensor]:
    return _as_biased(*producer)


@torch.no_grad()
def restandardise(model: nn.Module, samples: Tensor) -> None:
    """REPAIR, data-driven: the statistics of every batch norm are taken anew on samples."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    for part in samples.split(128):
        model(part)
    model.eval()
