"""A metric of the user's own: any function of outputs and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import DataError, SettingsError
from onnx_attnprune.evaluate.callables import function_of, is_function_name, name_of, raising_told

Array = NDArray[Any]
# Takes (outputs, labels): all outputs by name with the samples on the first axis, in the order of the data, and the
# labels as the data gives them. Gives a number, or a dict of names to numbers; higher is better.
MetricFunction = Callable[[Mapping[str, Array], Array], float | Mapping[str, float]]


@dataclass(frozen=True)
class Metric:
    """A metric and what to call it."""

    name: str
    function: MetricFunction


@dataclass(frozen=True)
class Own:
    """What a metric of the user's own gave over `n` samples, by name; higher is better, and the first counts most."""

    n: int
    values: Mapping[str, float]

    @property
    def measure(self) -> str:
        """The name of the first value."""
        return next(iter(self.values))

    @property
    def main(self) -> float:
        """The figure that a largest drop is one of: the first value."""
        return self.values[self.measure]


def metric_of(given: str | MetricFunction | None) -> Metric | None:
    """The metric that a user names as `module:function`, or gives as a function.

    Raises SettingsError where there is no such function, DataError where its module can't be imported.
    """
    if given is None:
        return None
    if not isinstance(given, str):
        return Metric(name_of(given), given)
    if not is_function_name(given):
        raise SettingsError(f"--metric {given}: is not of the form MODULE:FUNCTION")
    return Metric(given, function_of(given))


def own_figures(metric: Metric, outputs: Mapping[str, Array], labels: Array) -> Own:
    """What a metric says of outputs. Raises DataError, which names the metric, where it raises or gives no number."""
    with raising_told(metric.name):
        found = metric.function(outputs, labels)
    values = found if isinstance(found, Mapping) else {metric.name.partition(":")[2] or metric.name: found}
    if not values:
        raise DataError(f"{metric.name}: gives no value")
    return Own(len(labels), {str(key): _number(value, f"{metric.name}: {key}") for key, value in values.items()})


def _number(value: Any, told: str) -> float:
    array = np.asarray(value)
    if array.size != 1 or not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise DataError(f"{told} is a {type(value).__name__}, and not a number")
    return float(array.reshape(()))
