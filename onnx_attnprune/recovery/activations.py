"""Activation functions on arrays, as the ONNX operator specifications define them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from onnx_attnprune.graph import Node
from onnx_attnprune.recovery.laws import Array, erf, normal_cdf

Function = Callable[[Array], Array]
Maker = Callable[[Node], Function]

ACTIVATIONS: dict[str, Maker] = {}  # every operator of one operand that works on each number by itself


def activation(name: str) -> Callable[[Maker], Maker]:
    """Register what makes the function of a node. Raises ValueError for an operator that has one."""

    def register(maker: Maker) -> Maker:
        if name in ACTIVATIONS:
            raise ValueError(f"{name} has a function already")
        ACTIVATIONS[name] = maker
        return maker

    return register


def _plain(name: str, function: Function) -> None:
    activation(name)(lambda _: function)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    return np.asarray(np.logaddexp(0.0, x))


def elu(x: Array, alpha: float) -> Array:
    """x, or alpha (exp(x) - 1) below zero."""
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0.0)), x)


def leaky(x: Array, slope: Array | float) -> Array:
    """x, or slope * x below zero."""
    return np.where(x < 0, slope * x, x)


def reciprocal(x: Array) -> Array:
    """1 / x; not known where the last axis holds both signs, for a mean over a pole does not exist."""
    one_sign = (x > 0).all(-1, keepdims=True) | (x < 0).all(-1, keepdims=True)
    return np.where(one_sign, 1.0 / x, np.nan)


def power(x: Array, exponent: Array) -> Array:
    """x to a power; see `reciprocal`."""
    return np.asarray(np.where(exponent < 0, reciprocal(x), x) ** np.abs(exponent))


_plain("Relu", lambda x: np.maximum(x, 0.0))
_plain("Sigmoid", sigmoid)
_plain("Softplus", softplus)
_plain("Tanh", np.tanh)
_plain("Softsign", lambda x: x / (1.0 + np.abs(x)))
_plain("HardSwish", lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0))
_plain("Mish", lambda x: x * np.tanh(softplus(x)))
_plain("Erf", erf)
_plain("Abs", np.abs)
_plain("Neg", np.negative)
_plain("Exp", np.exp)
_plain("Sqrt", np.sqrt)
_plain("Reciprocal", reciprocal)
_plain("Sin", np.sin)
_plain("Cos", np.cos)


@activation("LeakyRelu")
def leaky_relu(n: Node) -> Function:
    """alpha below zero, 0.01 by default"""
    alpha = float(n.attr("alpha", 0.01))
    return lambda x: leaky(x, alpha)


@activation("ThresholdedRelu")
def thresholded_relu(n: Node) -> Function:
    """x above alpha, else 0"""
    alpha = float(n.attr("alpha", 1.0))
    return lambda x: np.where(x > alpha, x, 0.0)


@activation("Elu")
def elu_of(n: Node) -> Function:
    """alpha 1 by default"""
    alpha = float(n.attr("alpha", 1.0))
    return lambda x: elu(x, alpha)


@activation("Selu")
def selu(n: Node) -> Function:
    """gamma times Elu"""
    alpha = float(n.attr("alpha", 1.67326319217681884765625))
    gamma = float(n.attr("gamma", 1.05070102214813232421875))
    return lambda x: gamma * elu(x, alpha)


@activation("Celu")
def celu(n: Node) -> Function:
    """Elu over alpha"""
    alpha = float(n.attr("alpha", 1.0))
    return lambda x: alpha * elu(x / alpha, 1.0)


@activation("HardSigmoid")
def hard_sigmoid(n: Node) -> Function:
    """alpha x + beta within 0 and 1"""
    alpha, beta = float(n.attr("alpha", 0.2)), float(n.attr("beta", 0.5))
    return lambda x: np.clip(alpha * x + beta, 0.0, 1.0)


@activation("Swish")
def swish(n: Node) -> Function:
    """x sigmoid(alpha x)"""
    alpha = float(n.attr("alpha", 1.0))
    return lambda x: x * sigmoid(alpha * x)


@activation("Gelu")
def gelu(n: Node) -> Function:
    """x Φ(x), or its approximation by tanh"""
    if n.attr("approximate", "none") == "tanh":
        return lambda x: 0.5 * x * (1.0 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return lambda x: x * normal_cdf(x)
