"""What a table shows: its axes, and what its spread is."""

import re
from dataclasses import dataclass

from cotune_bench.errors import UserError

SPREADS = {"sample": "sample std", "population": "population std", "standard_error": "standard error"}
UNITS = ("replicate", "seed")


@dataclass(frozen=True)
class TableSpec:
    """What a table shows and in which order.

    Attributes:
        methods: the contenders; ``baselines`` are further rows below the line, never the best and in no verdict.
        rates: fractions of the training images.
        unit: what repeats a cell, one of UNITS; ``units`` are its values.
        std: a key of SPREADS.
        note: a sentence that the caption ends with.
    """

    name: str
    title: str
    data: tuple[str, ...]
    methods: tuple[str, ...]
    rates: tuple[float, ...]
    units: tuple[int, ...]
    unit: str = "replicate"
    std: str = "sample"
    note: str = ""
    baselines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise UserError(f"table name {self.name!r} names files: use letters, digits, '_', '-' and '.'")
        if self.std not in SPREADS:
            raise UserError(f"table {self.name}: std={self.std!r} is unknown: choose {', '.join(SPREADS)}")
        if self.unit not in UNITS:
            raise UserError(f"table {self.name}: unit={self.unit!r} is unknown: choose {', '.join(UNITS)}")
        for field in ("data", "methods", "rates", "units", "rows"):
            values = getattr(self, field)
            if not values or len(set(values)) < len(values):
                raise UserError(f"table {self.name}: {field} {values} must be at least one, none twice")

    @property
    def rows(self) -> tuple[str, ...]:
        """Contenders, then baselines."""
        return self.methods + self.baselines
