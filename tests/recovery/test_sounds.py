"""Made-up sound, and states that are handed on."""

from __future__ import annotations

import numpy as np

from onnx_attnprune.graph import SAMPLE_RATE, Graph
from onnx_attnprune.grouping import analyze
from onnx_attnprune.recovery import Inputs, handed_on, procedural, states_of, waveforms_of
from onnx_attnprune.recovery.calibration import UNIT
from onnx_attnprune.recovery.sounds import sounds
from tests.oracle import parse
from tests.recovery.helpers import run

LISTENING = """g (float[batch, time] sound, float[2, batch, 4] state, int64 sr) =>
    (float[batch, 5, c] y, float[2, batch, 4] stateN)
<float[6, 1, 16] w1, float[5, 6, 1] w2, int64[1] one = {1}, float half = {0.5}> {
    wide = Unsqueeze (sound, one)
    a = Conv <strides = [8]> (wide, w1)
    c = Relu (a)
    y = Conv (c, w2)
    less = Mul (state, half)
    loud = ReduceMean <keepdims = 0> (y)
    stateN = Add (less, loud)
}"""
READING = """g (float[N, 300] x, float[2, 8] table) => (float[N, 3] y, float[2, 8] tables)
<float[300, 6] w1, float[6, 3] w2> {
    a = MatMul (x, w1)
    y = MatMul (a, w2)
    tables = Relu (table)
}"""


def test_sound_is_told_from_rows_of_features() -> None:
    listening, reading = (analyze(Graph(parse(text))) for text in (LISTENING, READING))
    assert waveforms_of(listening) == {"sound"}
    assert waveforms_of(reading) == frozenset()
    assert states_of(listening) == {"state": "stateN"}
    assert states_of(reading) == {}  # neither a batch nor a single sample stands behind its first axis


def test_made_up_sound_has_pauses_and_tones() -> None:
    wave = sounds((40, SAMPLE_RATE), np.random.default_rng(0))
    assert wave.shape == (40, SAMPLE_RATE)
    assert np.abs(wave).max() <= 1
    loudness = np.abs(wave.reshape(-1, 320)).mean(1)
    assert 0.15 < (loudness > 0.03).mean() < 0.85  # speech and silence
    speech = wave.reshape(-1, 1600)[np.argsort(np.abs(wave.reshape(-1, 1600)).mean(1))[-50:]]
    power = np.abs(np.fft.rfft(speech * np.hanning(1600)))[:, :400] ** 2  # 10 Hz each, up to 4 kHz
    assert (np.sort(power, axis=1)[:, -80:].sum(1) / power.sum(1)).mean() > 0.9  # overtones, and little between them


def test_runs_go_on_from_the_state_before() -> None:
    model = parse(LISTENING)
    analysis = analyze(Graph(model))
    shapes = {"sound": (1, 400), "state": (2, 1, 4), "sr": ()}
    dtypes = {"sound": np.dtype(np.float32), "state": np.dtype(np.float32), "sr": np.dtype(np.int64)}
    states = states_of(analysis)
    inputs = Inputs(shapes, dtypes, {}, 1, waveforms_of(analysis), frozenset(states))
    found = handed_on(model, procedural(inputs, 5, UNIT), states)
    assert "sound like speech" in found.source
    assert [int(feeds["sr"]) for feeds in found.runs] == [SAMPLE_RATE] * 5
    assert not found.runs[0]["state"].any()
    for one, two in zip(found.runs[:-1], found.runs[1:], strict=True):
        np.testing.assert_allclose(two["state"], run(model, dict(one))["stateN"], rtol=1e-5)
        assert np.abs(one["sound"] - two["sound"]).max() > 0
