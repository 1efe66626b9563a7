"""What the methods of a table cost: parameters and multiply-adds of an image, beside fine-tuning."""

from collections.abc import Mapping
from itertools import product
from statistics import fmean

import pandas as pd

from cotune_bench.reports.grid import Grid
from cotune_bench.reports.published import BASELINE, Listing, Rows, listings_markdown
from cotune_bench.reports.tables import display_name, exact_csv

COSTS = ("trained_parameters", "parameters", "train_macs", "test_macs")
TITLE = "Costs"
NOTE = (
    "Parameters: those that updates train, and all that a method holds in training, frozen copies too. Multiply-adds "
    "of convolutions and matrix products, as torch counts them: of an image in a forward and a backward pass of "
    "training, and of one view of an image at test; × is the ratio to fine-tuning. In routed networks, copies of "
    "blocks count for the images that they compute. Computations before training are left out. –: no updates."
)
HEADER = ["Data set", "Method", "Trained", "Parameters", "Training", "×", "Test", "×"]


def costs(grid: Grid) -> Rows:
    """Means over the runs of each data set and row that recorded their costs; None for what they do not have."""
    found = []
    for data, method in product(grid.spec.data, grid.spec.rows):
        known = [run.costs for cell in grid.row(data, method) for run in cell.runs if run.costs]
        if known:
            values = {name: [one[name] for one in known if name in one] for name in COSTS}
            means = {name: fmean(given) if given else None for name, given in values.items()}
            found.append({"table": grid.spec.name, "data": data, "method": method, **means})
    return found


def cost_listings(grid: Grid) -> list[Listing]:
    """The table of costs, if any run has recorded them."""
    found = costs(grid)
    usual = {row["data"]: row for row in found if row["method"] == BASELINE}
    rows = [HEADER]
    for row in found:
        texts = [_short(row[name]) for name in COSTS]
        train, test = (_ratio(row, usual.get(row["data"], {}), name) for name in ("train_macs", "test_macs"))
        rows.append([row["data"], display_name(row["method"]), *texts[:3], train, texts[3], test])
    return [(TITLE, rows, [NOTE])] if found else []


def cost_texts(grid: Grid) -> dict[str, str]:
    """The table of costs as Markdown, and in full precision as CSV, by file name; none without costs."""
    if not (tables := cost_listings(grid)):
        return {}
    name = f"{grid.spec.name}-costs"
    return {
        f"{name}.md": listings_markdown(grid.spec.title, tables),
        f"{name}.csv": exact_csv(pd.DataFrame(costs(grid))),
    }


def _ratio(row: Mapping, usual: Mapping, name: str) -> str:
    mine, theirs = row[name], usual.get(name)
    return "–" if mine is None or not theirs else f"{mine / theirs:.2f}"


def _short(value: float | None) -> str:
    """Three digits and the prefix of a thousand, a million or a thousand million."""
    if value is None:
        return "–"
    for size, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:#.3g}".rstrip(".") + prefix
    return f"{value:.3g}"
