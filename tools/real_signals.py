"""Tasks of `bench_real` on speech and language: voice activity, sentence vectors, word segmentation."""

from __future__ import annotations

import io
import random
import subprocess
import wave
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from real_task import Array, Run, Samples, Task, in_batches, right
from real_words import CLAUSES, COUNTS, DONE, GOODS, KINDS, MARKS, NAMES, PEOPLE, PLACES, THINGS, TIMES, TOWNS

from onnx_attnprune.runtime import Session

RATE, FRAME, CONTEXT, STRETCH = 16_000, 512, 64, 32
TOKENS, CHARACTERS = 24, 24


# ---------------------------------------------------------------- voice activity
@cache
def spoken(text: str, voice: str, speed: int) -> Array:
    """espeak-ng's voice, float32 of -1 to 1 at 16 kHz."""
    said = subprocess.run(
        ["espeak-ng", "-v", voice, "-s", str(speed), "--stdout", text], capture_output=True, check=True
    ).stdout
    with wave.open(io.BytesIO(said)) as file:
        rate = file.getframerate()
        sound = np.frombuffer(file.readframes(1 << 30), np.int16) / 32768
    places = np.arange(0, len(sound) - 1, rate / RATE)
    return np.interp(places, np.arange(len(sound)), sound).astype(np.float32)


def recording(rng: random.Random, sentences: int) -> tuple[Array, Array]:
    """Sentences between silences, under noise; and for each frame whether somebody speaks in it."""
    noise = np.random.default_rng(rng.randrange(1 << 30))
    parts: list[Array] = []
    for _ in range(sentences):
        parts.append(np.zeros(int(RATE * rng.uniform(0.5, 1.5)), np.float32))
        voice = rng.choice(("en", "en-us", "de", "fr", "es", "en+f2", "en+m3", "de+f4"))
        parts.append(spoken(statement(rng)[0], voice, rng.randint(130, 190)) * rng.uniform(0.3, 1.0))
    clean = np.concatenate(parts)
    frames = len(clean) // FRAME
    clean = clean[: frames * FRAME]
    loud = np.abs(clean.reshape(frames, FRAME)).mean(1) > 0.005
    return (clean + noise.standard_normal(len(clean)) * rng.uniform(0.001, 0.03)).astype(np.float32), loud


def make_frames(count: int, seed: int) -> Samples:
    """Frames of 32 ms in the order of one long recording, each behind the end of the one before."""
    rng, sound, loud = random.Random(seed), np.zeros(0, np.float32), np.zeros(0, bool)
    while len(loud) < count:
        more, truth = recording(rng, 4)
        sound, loud = np.concatenate([sound, more]), np.concatenate([loud, truth])
    framed = np.concatenate([np.zeros(CONTEXT, np.float32), sound])
    rows = np.stack([framed[k * FRAME : (k + 1) * FRAME + CONTEXT] for k in range(count)])
    return Samples({"input": rows}, loud[:count])


def _steps(session: Session, samples: Samples) -> Iterator[tuple[dict[str, Any], dict[str, Array]]]:
    """What each run takes and gives, the state handed on from frame to frame."""
    state = np.zeros((2, 1, 128), np.float32)
    rate = {"sr": np.array(RATE, np.int64)} if "sr" in session.input_names else {}
    for row in samples.feeds["input"]:
        feeds = {"input": row[None], "state": state, **rate}
        out = session.run(feeds)
        state = out["stateN"]
        yield feeds, out


def step_by_step(session: Session, samples: Samples) -> Array:
    """The voice's probability of each frame."""
    return np.array([float(out["output"].ravel()[0]) for _, out in _steps(session, samples)])


def frames_with_states(session: Session, samples: Samples) -> dict[str, Array]:
    """Each frame as a run of its own, with the state that the original has come to."""
    runs = [feeds for feeds, _ in _steps(session, samples)]
    return {name: runs[0][name] if name == "sr" else np.stack([f[name] for f in runs]) for name in runs[0]}


def stretches(session: Session, samples: Samples) -> dict[str, Array]:
    """Stretches of 32 frames, each from a state of zeros."""
    rows = samples.feeds["input"]
    zeros = np.zeros((1, 1, 128), np.float32)
    return {"input": rows[: len(rows) // STRETCH * STRETCH].reshape(-1, STRETCH, rows.shape[1]), "h": zeros, "c": zeros}


def at_once(session: Session, samples: Samples) -> Array:
    """The same from a network that takes all frames in one run."""
    state = {name: np.zeros((1, 1, 128), np.float32) for name in ("h", "c")}
    return session.run({"input": samples.feeds["input"], **state})["speech_probs"]


def separation(output: Array, samples: Samples, _: Array) -> float:
    """The area under the curve of hits over false alarms, for frames of speech against others."""
    ranks = np.empty(len(output))
    ranks[np.argsort(output, kind="stable")] = np.arange(1, len(output) + 1)
    speech = samples.truth
    hits, others = int(speech.sum()), int((~speech).sum())
    return float((ranks[speech].sum() - hits * (hits + 1) / 2) / (hits * others))


def told_apart(output: Array, samples: Samples, original: Array) -> float:
    """The share of frames in which speech is told from silence at a probability of one half."""
    return right((output > 0.5).tolist(), samples.truth.tolist())


def voice(name: str, file: str, run: Run, options: tuple[str, ...], given: Any = frames_with_states) -> Task:
    """One of silero's networks."""
    what = "frames told right"
    return Task(f"voice activity, {name}", file, what, make_frames, told_apart, run, options, 3000, given)


STATE = ("--shape", "input=1x576", "--shape", "state=2x1x128")
VOICES = (
    voice("all frames at once", "silero_vad_16k_sequence.onnx", at_once, ("--shape", "input=64x576"), stretches),
    voice("step by step", "silero_vad_16k_op15.onnx", step_by_step, STATE),
    voice("ifless", "silero_vad_op18_ifless.onnx", step_by_step, STATE),
)


# ---------------------------------------------------------------- sentence vectors
def statement(rng: random.Random) -> tuple[str, str]:
    """One statement in two wordings."""
    name, thing, kind, place, time = (rng.choice(t) for t in (NAMES, THINGS, KINDS, PLACES, TIMES))
    active, passive = rng.choice(DONE)
    article = "an" if kind[0] in "aeiou" else "a"
    return (
        f"{name} {active} {article} {kind} {thing} in {place} {time}.",
        f"In {place}, {article} {kind} {thing} was {passive} by {name} {time}.",
    )


def make_sentences(count: int, seed: int) -> Samples:
    """Pairs of wordings of one statement: the even rows are the first, the odd ones the second."""
    import blingfire

    rng = random.Random(seed)
    texts = [text for _ in range(-(-count // 2)) for text in statement(rng)][:count]
    tokenizer = blingfire.load_model(str(Path(blingfire.__file__).with_name("bert_base_tok.bin")))
    ids, mask = np.zeros((count, TOKENS), np.int64), np.zeros((count, TOKENS), np.int64)
    for k, text in enumerate(texts):
        pieces = [t for t in blingfire.text_to_ids(tokenizer, text, TOKENS - 2, 100).tolist() if t]
        row = [101, *pieces, 102]
        ids[k, : len(row)], mask[k, : len(row)] = row, 1
    return Samples({"input_ids": ids, "attention_mask": mask})


def vectors(session: Session, samples: Samples) -> Array:
    """The mean of the vectors of each sentence's tokens, of unit length."""
    hidden = in_batches(output=2)(session, samples)
    mask = samples.feeds["attention_mask"][:, :, None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def found_again(output: Array, samples: Samples, original: Array) -> float:
    """How often the nearest sentence to the first wording, of all second wordings, is its own."""
    near = output[0::2] @ output[1::2].T
    return right(near.argmax(1).tolist(), list(range(len(near))))


def as_before(output: Array, samples: Samples, original: Array) -> float:
    """The mean cosine of a sentence's vector with the one that the original gives."""
    return float((output * original).sum(1).mean())


SENTENCES = Task(
    "sentence vectors", "paraphrase-MiniLM*", "other wording found", make_sentences, found_again, vectors,
    ("--shape", f"input_ids=1x{TOKENS}", "--shape", f"attention_mask=1x{TOKENS}"), evaluation=512,
)  # fmt: skip  # in the order of the fields
SIMILARITIES = Task(
    "sentence vectors", "paraphrase-MiniLM*", "cosine with the original", make_sentences, as_before, vectors,
    ("--shape", f"input_ids=1x{TOKENS}", "--shape", f"attention_mask=1x{TOKENS}"), evaluation=512,
)  # fmt: skip  # in the order of the fields


# ---------------------------------------------------------------- word segmentation
def make_clauses(folder: Path, count: int, seed: int) -> Samples:
    """Chinese clauses, cut to one length."""
    lines = (folder / "word.dic").read_text(encoding="utf-8").split("\n")
    ids = {word: int(k) for k, word in (line.split("\t", 1) for line in lines if "\t" in line)}
    rng, rows = random.Random(seed), []
    for _ in range(count):
        text = ""
        while len(text) < CHARACTERS:
            p, q = rng.sample(PEOPLE, 2)
            clause = rng.choice(CLAUSES).format(
                p=p, q=q, l=rng.choice(TOWNS), t=rng.choice(GOODS), m=rng.choice(COUNTS)
            )
            text += clause + rng.choice(MARKS)
        rows.append([ids.get(c, ids.get("OOV", 0)) for c in text[:CHARACTERS]])
    return Samples({"token_ids": np.array(rows), "length": np.full(count, CHARACTERS)})


def tagged_alike(output: Array, samples: Samples, original: Array) -> float:
    """The share of characters that get the same tag as from the original."""
    return float((output.argmax(-1) == original.argmax(-1)).mean())
