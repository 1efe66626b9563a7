"""Settings that depend on the sampling rate: ``${by_rate:{0.15: 2.3, 1.0: 5.0}}`` in a yaml file."""

import math
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from cotune_bench.errors import UserError


def nearest_rate(rates: Mapping[float, Any], rate: float) -> float:
    """The one of the rates whose ratio to ``rate`` is nearest to 1, the smaller of two that are equally near."""
    return min(sorted(rates), key=lambda known: round(abs(math.log(known / rate)), 9))


def by_rate(values: Mapping[float, Any], *, _root_: DictConfig) -> Any:
    """The value of the rate that is nearest to the configuration's; UserError if a key is not a rate."""
    for known in values:
        if not isinstance(known, int | float) or not 0 < known <= 1:
            raise UserError(f"by_rate has the key {known}: keys are rates, in (0, 1]")
    if not values:
        raise UserError("by_rate has no rates: write ${by_rate:{RATE: VALUE}}")
    return values[nearest_rate(values, _root_.rate)]
