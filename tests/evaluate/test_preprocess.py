"""What a user says of images, and what follows from the model's input where nothing is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx_attnprune.errors import SettingsError
from onnx_attnprune.evaluate.feeds import InputSpec
from onnx_attnprune.evaluate.preprocess import parse, preprocess_for


def spec(*shape: Any, dtype: str = "float32") -> InputSpec:
    return InputSpec("image", np.dtype(dtype), ("N", *shape))


def told(text: str, of: InputSpec) -> str:
    return str(preprocess_for(parse(text), of))


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (spec(3, 28, 20), "size=28x20,resize=20,crop=center,range=0..1,mean=0,std=1,layout=nchw,channels=rgb"),
        (spec(1, 28, 20), "layout=nchw,channels=gray"),
        (spec(28, 20, 3), "size=28x20,resize=20,crop=center,range=0..1,mean=0,std=1,layout=nhwc,channels=rgb"),
        (spec("H", "W", 1), "size=224x224,resize=224,crop=center,range=0..1,mean=0,std=1,layout=nhwc,channels=gray"),
        (spec(3, 28, "W"), "size=28x28"),
        (spec(3, 28, 20, dtype="uint8"), "range=0..255"),
        (InputSpec("image", np.dtype("float32"), None), "size=224x224"),
    ],
)
def test_what_is_left_out_follows_from_the_input(of: InputSpec, expected: str) -> None:
    assert expected in told("", of)


def test_what_is_said_holds() -> None:
    text = (
        "size=224x224,resize=256,crop=center,range=-1..1,mean=0.485/0.456/0.406,std=0.2/0.3/0.4,layout=nhwc,"
        "channels=bgr,resample=bicubic"
    )
    assert told(text, spec("a", "b", 3)) == text
    assert told(" crop = none , size = 8x6 ", spec(3, "a", "b")).startswith("size=8x6,crop=none,range=0..1")
    assert preprocess_for(parse("size=8x6"), spec(3, "a", "b")).sample_shape == (3, 8, 6)


@pytest.mark.parametrize(
    ("text", "of", "expected"),
    [
        ("size", spec(3, 8, 8), "'size' is not of the form key=value"),
        ("size=", spec(3, 8, 8), "'size=' is not of the form key=value"),
        ("colour=rgb", spec(3, 8, 8), "no key is called 'colour'; choose from: size, resize"),
        ("size=8,size=9", spec(3, 8, 8), "size is given twice"),
        ("size=0", spec(3, 8, 8), "size=0 is no positive number of pixels"),
        ("size=axb", spec(3, 8, 8), "size=a is no positive number"),
        ("size=9", spec(3, 8, 8), "makes images of shape [3, 9, 9], but input image takes [samples, 3, 8, 8]"),
        ("channels=gray", spec(3, 8, 8), "makes images of shape [1, 8, 8]"),
        ("layout=nhwc", spec(3, 8, 8), "makes images of shape"),
        ("", spec(8, 8), "but input image takes [samples, 8, 8]"),
        ("crop=left", spec(3, 8, 8), "crop=left is not one of center, none"),
        ("crop=none,resize=9", spec(3, 8, 8), "resize is for crop=center"),
        ("resize=7", spec(3, 8, 8), "resize=7 leaves less than size=8 to crop"),
        ("range=1", spec(3, 8, 8), "range=1 is not of the form 0..1"),
        ("range=1..0", spec(3, 8, 8), "range=1..0 is empty"),
        ("range=0..x", spec(3, 8, 8), "range: 'x' is no number"),
        ("mean=1/2", spec(3, 8, 8), "mean has 2 numbers for 3 channels"),
        ("mean=nan", spec(3, 8, 8), "mean: 'nan' is no number"),
        ("std=0", spec(3, 8, 8), "std must be positive"),
        ("range=0..1", spec(3, 8, 8, dtype="uint8"), "takes uint8: only range=0..255"),
        ("mean=1", spec(3, 8, 8, dtype="int32"), "takes int32: only range=0..255"),
    ],
)  # fmt: skip  # one line each
def test_what_makes_no_sense(text: str, of: InputSpec, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        told(text, of)
    assert str(caught.value).startswith("--preprocess: ")
    assert expected in str(caught.value)
