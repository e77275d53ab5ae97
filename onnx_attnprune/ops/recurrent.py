"""Recurrent layers: the hidden size is one variable, the gates and the directions are factors that stay."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_attnprune.axes import Axis
from onnx_attnprune.ops.registry import Effect, Linear, Tensor, View, rule

# Activations that give zero at zero, whatever their alpha and beta (Affine and HardSigmoid give beta).
THROUGH_ZERO = {"relu", "tanh", "leakyrelu", "thresholdedrelu", "scaledtanh", "elu", "softsign"}
MOVED = "moves through time"


@rule("LSTM")
def lstm(n: View) -> Effect:
    """t b i, d (4 h) i, d (4 h) h, d (2 4 h), b, d b h, d b h, d (3 h) -> t d b h, d b h, d b h

    A unit whose weights, biases and initial states are zero stays at zero: its cell is f(0)·0 + f(0)·g(0), its output
    f(0)·h(0), so g and h must give zero at zero; the gates and the peepholes (which multiply the cell) don't matter.
    """
    return recurrent(n, gates=4, states=2, through=(1, 2), default=("Sigmoid", "Tanh", "Tanh"))


@rule("GRU")
def gru(n: View) -> Effect:
    """t b i, d (3 h) i, d (3 h) h, d (2 3 h), b, d b h -> t d b h, d b h

    A unit whose weights, biases and initial state are zero stays at zero if g gives zero there: (1 - z)·g(0) + z·0.
    """
    return recurrent(n, gates=3, states=1, through=(1,), default=("Sigmoid", "Tanh"))


@rule("RNN")
def rnn(n: View) -> Effect:
    """t b i, d h i, d h h, d (2 h), b, d b h -> t d b h, d b h; silent where the activation gives zero at zero"""
    return recurrent(n, gates=1, states=1, through=(0,), default=("Tanh",))


def recurrent(n: View, gates: int, states: int, through: Sequence[int], default: Sequence[str]) -> Effect:
    """`through`: the places, in one direction's list of activations, of those that a zero must pass unchanged."""
    batch_first = bool(n.attr("layout", 0))
    state = "b d h" if batch_first else "d b h"
    places = range(5, 5 + states)
    # Zeros are what a missing state means; tying them would tie every layer that starts from the same zeros.
    zeros = [place for place in places if n.is_filled_with_zeros(place)]
    operands = ["b t i" if batch_first else "t b i", "d (g h) i", "d (g h) h", "d (two g h)", "b"]
    operands.extend("..." if place in zeros else state for place in places)
    if gates == 4:
        operands.append("d (three h)")
    v, _ = n.unify(", ".join(operands), g=gates, two=2, three=3)
    n.keep([v["t"], v["b"]], MOVED)
    n.keep(v["d"], "a direction")
    n.keep([v["g"], v["two"], v["three"]], "a gate")
    _contract(n, 1, v["i"], n.tensor(0).silent or n.tensor(1).silent)
    # What comes back from one step to the next is as silent as the output.
    silent = _silent(n, states, through, default)
    _contract(n, 2, v["h"], silent or n.tensor(2).silent)
    _roles(n, states)
    whole = (v["b"], v["t"], v["d"], v["h"]) if batch_first else (v["t"], v["d"], v["b"], v["h"])
    last = (v["b"], v["d"], v["h"]) if batch_first else (v["d"], v["b"], v["h"])
    outs: list[Tensor] = [n.out(whole, silent=silent), *[n.out(last, silent=silent)] * states]
    steps = (v["t"], v["b"], v["d"], v["g"], v["h"])
    macs = ((*steps, v["i"]), (*steps, v["h"]))
    omit = dict.fromkeys(zeros, v["h"])
    linear = Linear(0, 1, 3, out=1, into=2, inner=True)
    return Effect(tuple(outs[: len(n.node.outputs)]), {"hidden_size": v["h"]}, omit=omit, macs=macs, linear=linear)


def _contract(n: View, weight: int, axis: Axis, silent: bool) -> None:
    if not silent and not n.space.is_kept(axis):
        n.keep(axis, f"summed over by operand {weight}, where a removed channel would not be zero")


def _silent(n: View, states: int, through: Sequence[int], default: Sequence[str]) -> bool:
    # Without a bias, or without an initial state, there are zeros.
    given = [place for place in (1, 2, 3, *range(5, 5 + states)) if n.has(place)]
    listed = n.attr("activations", ()) or (*default, *default)
    width = len(default)
    passing = all(a.lower() in THROUGH_ZERO for k, a in enumerate(listed) if k % width in through)
    return passing and all(n.tensor(place).silent for place in given)


def _roles(n: View, states: int) -> None:
    n.role(1, "", "producer", "consumer")
    n.role(2, "", "producer", "consumer")
    if n.has(3):
        n.role(3, "", "bias")
    for place in range(5, 5 + states):
        if n.has(place):
            n.role(place, "", "", "state")
    if n.has(7):
        n.role(7, "", "scale")
