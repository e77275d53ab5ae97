"""Made-up sound for networks that read waveforms: something like speech between silences, under noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.graph import SAMPLE_RATE, Node
from onnx_attnprune.grouping import Analysis

Wave = NDArray[np.float64]
SHORTEST = 256  # samples of one row, from which on a row may be a waveform
# What may lie between a waveform and the convolution that first looks at it.
PASSING = {
    "Add", "Cast", "Concat", "Div", "Identity", "Mul", "Pad", "Reshape", "Slice", "Squeeze", "Sub", "Unsqueeze",
}  # fmt: skip  # a list of names


def waveforms_of(analysis: Analysis) -> frozenset[str]:
    """The inputs that are looked at by windows over time first: a convolution of one channel over one axis, or STFT."""
    graph = analysis.graph
    return frozenset(i.name for i in graph.inputs if len(i.dims or ()) in (2, 3) and _is_windowed(analysis, i.name))


def _is_windowed(analysis: Analysis, name: str) -> bool:
    graph, seen, waiting, found = analysis.graph, {name}, [name], False
    while waiting:
        for proto, place in graph.readers.get(waiting.pop(), ()):
            node = Node(proto, 0)
            if node.op == "Conv":
                weight = graph.constants.get(node.inputs[1])
                if place or weight is None or len(weight.dims) != 3 or weight.dims[1] != 1:
                    return False
                found = True
            elif node.op == "STFT":
                found = True
            elif node.op in PASSING and place >= 0:
                new = [o for o in node.outputs if o not in seen]
                seen.update(new)
                waiting.extend(new)
    return found


def sounds(shape: tuple[int, ...], rng: np.random.Generator) -> Wave:
    """Stretches that follow each other in one recording, [..., length], between -1 and 1."""
    total = int(np.prod(shape))
    parts: list[Wave] = []
    length = 0
    while length < total:
        pause = np.zeros(int(SAMPLE_RATE * rng.uniform(0.1, 0.8)))
        parts += [pause, *(_syllable(rng) for _ in range(rng.integers(2, 9)))]
        length = sum(map(len, parts))
    start = rng.integers(0, length - total + 1)
    clean = np.concatenate(parts)[start : start + total] * rng.uniform(0.1, 0.9)
    noise = rng.standard_normal(total) * 10 ** rng.uniform(-3.5, -1.5)
    return np.asarray(np.clip(clean + noise, -1, 1).reshape(shape))


def _syllable(rng: np.random.Generator) -> Wave:
    """Perhaps a hiss, then a gliding tone whose overtones are louder about three formants."""
    time = np.arange(int(SAMPLE_RATE * rng.uniform(0.1, 0.35))) / SAMPLE_RATE
    pitch = rng.uniform(80, 260) * (1 + rng.uniform(-0.3, 0.3) * time / time[-1])
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    formants = rng.uniform((250, 800, 2000), (850, 2300, 3200))
    tone = np.zeros_like(time)
    for k in range(1, int(4000 / pitch.mean())):
        at = k * pitch.mean()
        loudness = (1 / (1 + ((at - formants) / (0.1 * formants + 40)) ** 2)).sum() + 0.01
        tone += loudness / k**0.5 * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
    voiced = tone * np.hanning(len(time)) ** 0.5
    voiced /= np.abs(voiced).max() + 1e-9
    if rng.random() < 0.5:
        return np.asarray(voiced)
    hiss = np.diff(rng.standard_normal(int(SAMPLE_RATE * rng.uniform(0.03, 0.1)) + 1))
    return np.concatenate([0.1 * hiss * np.hanning(len(hiss)), voiced])
