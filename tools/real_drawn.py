"""Tasks of `bench_real` on pictures: recognition, detection and direction of text, captchas, photographs.

Everything is drawn with Pillow in the DejaVu fonts, so that the truth is known; noise and blur make it hard enough that
the original errs now and then.
"""

from __future__ import annotations

import random
import string
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from real_task import Array, Samples, Task, characters_right, in_batches, right
from real_words import DRAWN

from onnx_attnprune.graph import ModelProto

FONTS = Path("/usr/share/fonts/truetype/dejavu")
FACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSansMono", "DejaVuSansCondensed")
LINE = (48, 320)
PAGE = 320
CAPTCHA = (160, 60)
SYMBOLS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
SHRINK = 0.4  # the share by which a text detector's training shrinks each box, by DB's formula


def font(rng: random.Random, size: int) -> ImageFont.FreeTypeFont:
    """One of the faces, at random."""
    return ImageFont.truetype(str(FONTS / f"{rng.choice(FACES)}.ttf"), size)


def phrase(rng: random.Random, words: int) -> str:
    """Words, and a number now and then."""
    parts = [rng.choice(DRAWN) for _ in range(words)]
    if rng.random() < 0.4:
        parts[rng.randrange(words)] = "".join(rng.choice(string.digits) for _ in range(rng.randint(2, 6)))
    return " ".join(parts)


def spoiled(image: Image.Image, rng: random.Random, blur: float, noise: float) -> Array:
    """The image after blur and noise, float32 [height, width, 3] of 0 to 255."""
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, blur))), np.float32)
    grain = np.random.default_rng(rng.randrange(1 << 30)).standard_normal(blurred.shape)
    return np.clip(blurred + grain * rng.uniform(0, noise), 0, 255).astype(np.float32)


def colours(rng: random.Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A light ground and a dark ink."""
    return tuple(rng.randint(170, 255) for _ in range(3)), tuple(rng.randint(0, 90) for _ in range(3))


def drawn_line(rng: random.Random, size: tuple[int, int], blur: float, noise: float) -> tuple[Array, str]:
    """A line of text that fills most of an image of `size` (height, width), and what it says."""
    height, width = size
    ground, ink = colours(rng)
    image = Image.new("RGB", (width, height), ground)
    while True:
        text, face = phrase(rng, rng.randint(2, 3)), font(rng, int(height * rng.uniform(0.5, 0.7)))
        left, top, right_, bottom = face.getbbox(text)
        if right_ - left <= width - 12:
            break
    ImageDraw.Draw(image).text((6 - left, (height - bottom - top) / 2 + rng.uniform(-3, 3)), text, fill=ink, font=face)
    return spoiled(image, rng, blur, noise), text


def signed(pictures: list[Array]) -> Array:
    """Pictures [height, width, 3] of 0 to 255 as one array [n, 3, height, width] of -1 to 1."""
    return (np.stack(pictures).transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)


# ---------------------------------------------------------------- text recognition
def make_lines(count: int, seed: int) -> Samples:
    """Noisy lines of text."""
    rng = random.Random(seed)
    drawn = [drawn_line(rng, LINE, blur=2.2, noise=60) for _ in range(count)]
    return Samples({"x": signed([image for image, _ in drawn])}, [text for _, text in drawn])


def alphabet(model: ModelProto) -> list[str]:
    """The characters that the network's classes stand for, from its metadata; the first is none, the last a space."""
    stored = next(p.value for p in model.metadata_props if p.key == "character")
    return ["", *stored.splitlines(), " "]


def read_lines(characters: list[str], output: Array) -> list[str]:
    """What a CTC network says, [n, steps, classes]: the best class of each step, repetitions and blanks left out."""
    texts = []
    for best in output.argmax(-1):
        kept = [k for i, k in enumerate(best) if k and (i == 0 or best[i - 1] != k)]
        texts.append("".join(characters[k] for k in kept))
    return texts


def recognition(model: ModelProto) -> Task:
    """PP-OCRv4's recognition of lines."""
    characters = alphabet(model)
    return Task(
        "text recognition", "*rec_infer*", "characters read right", make_lines,
        lambda output, samples, _: characters_right(read_lines(characters, output), samples.truth),
        in_batches(), ("--shape", "x=1x3x48x320"),
    )  # fmt: skip  # in the order of the fields


# ---------------------------------------------------------------- direction
def make_directions(count: int, seed: int) -> Samples:
    """Noisy lines of text, half of them upside down."""
    rng = random.Random(seed)
    drawn = [drawn_line(rng, (48, 192), blur=1.5, noise=40)[0] for _ in range(count)]
    turned = [rng.random() < 0.5 for _ in range(count)]
    images = [a[::-1, ::-1] if t else a for a, t in zip(drawn, turned, strict=True)]
    return Samples({"x": signed(images)}, [int(t) for t in turned])


DIRECTION = Task(
    "text direction", "*cls_infer*", "lines told right", make_directions,
    lambda output, samples, _: right(output.argmax(1).tolist(), samples.truth),
    in_batches(), ("--shape", "x=1x3x48x192"),
)  # fmt: skip  # in the order of the fields


# ---------------------------------------------------------------- text detection
def make_pages(count: int, seed: int) -> Samples:
    """Pages with some lines of text; the truth is a map of where a detector should say text."""
    rng = random.Random(seed)
    pages, maps = [], []
    for _ in range(count):
        page, where = drawn_page(rng)
        pages.append(page)
        maps.append(where)
    return Samples({"x": signed(pages)}, np.stack(maps))


def drawn_page(rng: random.Random) -> tuple[Array, Array]:
    """One page, and the map of its text: boxes shrunk by area x (1 - SHRINK^2) / perimeter, as detectors are taught."""
    ground, ink = colours(rng)
    image, where = Image.new("RGB", (PAGE, PAGE), ground), np.zeros((PAGE, PAGE), bool)
    draw, y = ImageDraw.Draw(image), rng.randint(4, 30)
    for _ in range(3):
        box = [rng.randint(0, PAGE) for _ in range(4)]
        draw.line(box, fill=tuple(rng.randint(60, 220) for _ in range(3)), width=rng.randint(1, 3))
    while True:
        face, text = font(rng, rng.randint(14, 34)), phrase(rng, rng.randint(1, 3))
        left, top, right_, bottom = face.getbbox(text)
        x = rng.randint(4, 60)
        if y + bottom > PAGE - 4:
            return spoiled(image, rng, blur=1.2, noise=30), where
        if x + right_ < PAGE - 4:
            draw.text((x, y), text, fill=ink, font=face)
            width, height = right_ - left, bottom - top
            inset = round(width * height * (1 - SHRINK**2) / (2 * (width + height)))
            where[y + top + inset : y + bottom - inset, x + left + inset : x + right_ - inset] = True
            y += bottom + rng.randint(6, 40)


def overlap(output: Array, samples: Samples, _: Array) -> float:
    """F1 of the pixels that are said to be text."""
    said, true = output[:, 0] > 0.3, samples.truth
    return float(2 * (said & true).sum() / (said.sum() + true.sum()))


DETECTION = Task(
    "text detection", "*det_infer*", "F1 of text pixels", make_pages, overlap, in_batches(batch=4),
    ("--shape", f"x=1x3x{PAGE}x{PAGE}"), evaluation=96,
)  # fmt: skip  # in the order of the fields


# ---------------------------------------------------------------- captchas
def make_captchas(count: int, seed: int) -> Samples:
    """Five symbols in several inks and faces, under lines and noise; blue, green, red from 0 to 255."""
    rng = random.Random(seed)
    images, texts = [], []
    for _ in range(count):
        text = "".join(rng.choice(SYMBOLS) for _ in range(5))
        image = Image.new("RGB", CAPTCHA, colours(rng)[0])
        draw = ImageDraw.Draw(image)
        for k, symbol in enumerate(text):
            place = 8 + 30 * k + rng.randint(-2, 2), 10 + rng.randint(-6, 6)
            draw.text(place, symbol, fill=colours(rng)[1], font=font(rng, rng.randint(28, 38)))
        for _ in range(4):
            ends = [rng.randint(0, CAPTCHA[k % 2]) for k in range(4)]
            draw.line(ends, fill=tuple(rng.randint(60, 220) for _ in range(3)), width=1)
        images.append(spoiled(image, rng, blur=1.0, noise=40))
        texts.append(text)
    return Samples({"image": np.stack(images)[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)}, texts)


def read_captchas(output: Array, samples: Samples, _: Array) -> float:
    """Characters read right; class 0 is never meant, the last class is none, the last step is not read."""
    classes = "123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
    texts = []
    for best in output[:-1, :, 1:].argmax(-1).T:
        kept = [k for i, k in enumerate(best) if classes[k] != "_" and (i == 0 or best[i - 1] != k)]
        texts.append("".join(classes[k] for k in kept))
    return characters_right(texts, samples.truth)


CAPTCHAS = Task("captchas", "captcha_crnn*", "characters read right", make_captchas, read_captchas, in_batches(axis=1))


# ---------------------------------------------------------------- photographs
def make_photographs(read: partial[Array], count: int, seed: int) -> Samples:
    """Photographs of 32x32 pixels, enlarged to 224x224: blue, green, red less their means, channels last."""
    chosen = np.random.default_rng(seed).permutation(10_000)[:count]
    large = [np.asarray(Image.fromarray(a).resize((224, 224), Image.Resampling.BICUBIC)) for a in read(chosen)]
    return Samples({"input:0": np.stack(large)[..., ::-1].astype(np.float32) - np.float32([104, 117, 123])})


def read_photographs(path: Path, chosen: Array) -> list[Array]:
    """Some images of a CIFAR-10 file of JPEGs (see `train_cifar.py`), uint8 [32, 32, 3]."""
    import io

    with np.load(path, allow_pickle=False) as data:
        jpeg, offset = data["jpeg"], data["offset"]
    spans = [(int(offset[i]), int(offset[i + 1])) for i in chosen]
    return [np.asarray(Image.open(io.BytesIO(jpeg[a:b].tobytes())).convert("RGB")) for a, b in spans]


def ranked_alike(output: Array, _: Samples, original: Array) -> float:
    """The rank correlation of the score of the second class with the original's, over all pictures."""
    ranks = [np.argsort(np.argsort(np.log(o[:, 1] + 1e-9) - np.log(o[:, 0] + 1e-9))) for o in (output, original)]
    return float(np.corrcoef(ranks)[0, 1])


def photographs(path: Path) -> Task:
    """open-nsfw, which ranks pictures by how indecent they are."""
    return Task(
        "photographs", "open-nsfw*", "rank correlation with the original",
        partial(make_photographs, partial(read_photographs, path)), ranked_alike, in_batches(batch=8), evaluation=128,
    )  # fmt: skip  # in the order of the fields
