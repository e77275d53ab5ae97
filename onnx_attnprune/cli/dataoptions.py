"""The options that name samples, which several commands have."""

from __future__ import annotations

import click

CALIBRATE = click.option(
    "--calibrate",
    "calibration",
    metavar="DATA",
    help="Unlabelled samples for the repair. Some 256 are enough: of more as many are taken, evenly spread over all, "
    "or over the first 1,024 that a function yields.",
)
EVAL = click.option(
    "--eval",
    "evaluation",
    metavar="DATA",
    help="Labelled samples to measure accuracy on, before and after.",
)
PREPROCESS = click.option(
    "--preprocess",
    default="",
    metavar="KEY=V,...",
    help="How images become inputs: size (224 or HxW), resize (shorter side before the crop), crop (center, none), "
    "range (0..1), mean and std (one number or A/B/C), layout (nchw, nhwc), channels (rgb, bgr, gray), resample, and "
    "labels (a file). What is left out follows from the model's input.",
)
METRIC = click.option(
    "--metric",
    metavar="MODULE:FUNCTION",
    help="Judge the outputs on --eval by a function (outputs by name, labels) that gives a number or a dict of them, "
    "higher is better; else integer labels are classes and float labels values.",
)
DATA = """\b
DATA is one of:
  samples.npz      one array per input, named like it, samples on its first
                   axis; for --eval also 'labels'
  folder/          images (pip install 'onnx-attnprune[images]'); sub-folders
                   in the order of their names are the classes
  module:function  a Python function that yields dicts of input to array; for
                   --eval pairs (dict, labels)
"""
