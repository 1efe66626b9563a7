"""A grid as Markdown, CSV, LaTeX and terminal output; the same grid always gives the same bytes."""

import re
from collections.abc import Callable, Sequence
from itertools import product

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cotune_bench.reports.captions import caption, warnings
from cotune_bench.reports.grid import DECIMALS, Cell, Grid
from cotune_bench.storage.escape import latex, markdown

#: As rich's SIMPLE_HEAD, with a rule between sections, too.
RULED = box.Box("    \n    \n ── \n    \n ── \n    \n    \n    \n")

METHOD_NAMES = {
    "finetune": "Fine-tune",
    "l2sp": "L2-SP",
    "delta": "DELTA",
    "bss": "BSS",
    "cotuning": "Co-Tuning",
    "random_start": "Random start",
    "linear_probe": "Linear probe",
    "svm": "SVM on pixels",
    "stochnorm": "StochNorm",
    "lwf": "LwF",
    "bi_tuning": "Bi-Tuning",
    "spottune": "SpotTune",
    "zoo_tuning": "Zoo-Tuning",
    "zoo_tuning_lite": "Lite Zoo-Tuning",
    "knowledge_flow": "Knowledge Flow",
    "ensemble": "Ensemble",
    "distill": "Distillation",
    "bn_only": "BN-only",
    "bitfit": "BitFit",
    "lora": "LoRA",
    "lp_ft": "LP-FT",
    "ema": "EMA",
    "wise_ft": "WiSE-FT",
    "feature_extractor": "Feature extractor",
    "last_k": "Last k blocks",
    "stochastic_blocks": "Stochastic blocks",
    "random_policy": "Random policy",
    "spottune_global": "SpotTune (Global-k)",
    "progressive": "Progressive nets",
    "combine": "Combine",
    "last_3": "Last 3 blocks",  # rows of tables, from here on
    "last_2": "Last 2 blocks",
    "last_1": "Last block",
    "delta_maps": "DELTA, plain maps",
    "finetune_deep": "Fine-tune, deeper",
    "finetune_moco": "MoCo",
    "finetune_maskrcnn": "Mask R-CNN",
    "finetune_deeplab": "DeepLabV3",
    "finetune_keypoint": "Keypoint R-CNN",
    "finetune_marks": "Fine-tune, marks",
    "finetune_fonts": "Fine-tune, fonts",
    "finetune_rotation": "Fine-tune, rotation",
    "finetune_contrastive": "Fine-tune, contrastive",
    "spottune_tuned": "SpotTune, all tuned",
}


def usual_place(method: str) -> tuple[int, str]:
    """What methods are sorted by: as above, then the others by name."""
    return list(METHOD_NAMES).index(method) if method in METHOD_NAMES else len(METHOD_NAMES), method


def display_name(method: str) -> str:
    """The name of a method or row as papers write it; unknown ones as they are."""
    return METHOD_NAMES.get(method, method)


def display_rate(rate: float) -> str:
    """A sampling rate in percent, such as "15 %"."""
    return f"{100 * rate:g} %"


def mean_text(mean: float | None, spread: float | None) -> str:
    """Mean ± spread in percent, as far as they exist."""
    text = "–" if mean is None else f"{mean:.{DECIMALS}f}"
    return text if spread is None else f"{text} ± {spread:.{DECIMALS}f}"


def cell_text(cell: Cell, best: str = "**{}**") -> str:
    """Mean ± spread in percent, put into ``best`` if it is, then "(found/expected)" if runs are missing."""
    text = (best if cell.best else "{}").format(mean_text(cell.mean, cell.spread))
    return text if cell.n == cell.expected else f"{text} ({cell.n}/{cell.expected})"


def text_rows(
    grid: Grid, escape: Callable[[str], str] = str, baseline: str = "{}", best: str = "{}"
) -> list[list[str]]:
    """A header and one row for each data set and method: their names, then a text for each rate."""
    rows = [["Data set", "Method", *(escape(display_rate(rate)) for rate in grid.spec.rates)]]
    for data, method in product(grid.spec.data, grid.spec.rows):
        name = (baseline if method in grid.spec.baselines else "{}").format(escape(display_name(method)))
        rows.append([escape(data), name, *(cell_text(cell, best) for cell in grid.row(data, method))])
    return rows


def to_markdown(grid: Grid, verdict: Sequence[str] = ()) -> str:
    """The table as GitHub Markdown whose columns also line up in the raw text; sentences of the verdict below it."""
    rows = text_rows(grid, markdown, "*{}*", "**{}**")
    for number, row in enumerate(rows[1:]):
        row[0] = "" if number % len(grid.spec.rows) else row[0]
    parts = [f"# {markdown(grid.spec.title)}", markdown(caption(grid, below="in italics")), aligned(rows)]
    parts += map(markdown, verdict)
    if lines := warnings(grid):
        parts.append("\n".join(["Warnings:", "", *(f"- {markdown(line)}" for line in lines)]))
    return "\n\n".join(parts) + "\n"


def aligned(rows: list[list[str]], names: int = 2) -> str:
    """Rows, the first a header, as a Markdown table whose columns line up; the first ``names`` are flush left."""
    head, *body = _padded(rows, names)
    rule = ["-" * len(text) if place < names else "-" * (len(text) - 1) + ":" for place, text in enumerate(head)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))


def spaced(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines of plain text whose columns line up."""
    return ["  ".join(row).rstrip() for row in _padded(rows, len(rows[0]))]


def _padded(rows: Sequence[Sequence[str]], names: int) -> list[list[str]]:
    """Rows whose columns have one width each; the first ``names`` are flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.ljust if place < names else str.rjust for place in range(len(widths))]
    return [[pad(text, width) for pad, text, width in zip(sides, row, widths, strict=True)] for row in rows]


def to_csv(grid: Grid) -> str:
    """One line per cell in full precision; ``unit`` is what its spread is over.

    The spread's column is ``standard_error`` if it is a standard error.
    """
    spread = "standard_error" if grid.spec.std == "standard_error" else "std"
    columns = ["table", "data", "method", "rate", "unit", "n", "expected", "mean", spread, "best"]
    table, unit, rows = grid.spec.name, grid.spec.unit, []
    for cell in grid.cells:
        place = table, cell.data, cell.method, float(cell.rate), unit
        rows.append((*place, cell.n, cell.expected, cell.mean, cell.spread, str(cell.best).lower()))
    return exact_csv(pd.DataFrame(rows, columns=pd.Index(columns)))


def exact_csv(frame: pd.DataFrame) -> str:
    """The text of a CSV file in full precision."""
    return frame.to_csv(index=False, lineterminator="\n")


def to_latex(grid: Grid) -> str:
    r"""A ``table*``, as wide as the page in two columns, that needs booktabs; labelled ``tab:<name>``.

    Warnings end its caption.
    """
    head, *rows = text_rows(grid, latex, r"\textit{{{}}}", r"\textbf{{{}}}")
    frame = pd.DataFrame(rows, columns=pd.Index(head)).set_index(head[:2]).rename_axis([None, None])
    title = re.sub(r"^Table \w+: ", "", grid.spec.title)  # LaTeX numbers tables itself
    sentences = [f"{title}.", caption(grid, below="in italics"), *(f"Warning: {line}" for line in warnings(grid))]
    narrow = [{"selector": "small", "props": ":;"}, {"selector": "setlength", "props": r":{\tabcolsep}{3pt};"}]
    text = frame.style.set_table_styles(narrow).to_latex(  # pyright: ignore[reportArgumentType]
        column_format="@{}ll" + "r" * len(grid.spec.rates) + "@{}",
        position_float="centering",
        environment="table*",
        hrules=True,
        clines="skip-last;data",
        multirow_align="naive",
        caption=(latex(" ".join(sentences)), latex(title)),
        label=f"tab:{grid.spec.name}",
    )
    text = re.sub(r"\\cline\S+\n\\bottomrule", r"\\bottomrule", text).replace(r"\cline", r"\cmidrule")
    return "% needs \\usepackage{booktabs}\n" + text.replace("±", r"$\pm$")  # the text's ± is no outline font


def print_grid(grid: Grid, console: Console, verdict: Sequence[str] = ()) -> None:
    """Show the table within 100 columns and the verdict below; without bold, as in a pipe, a star marks the best."""
    star = console.color_system is None  # rich then drops bold as well
    table = Table(box=RULED, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    header, *rows = text_rows(grid, best="*{}" if star else "{}")
    for number, name in enumerate(header[1:]):
        table.add_column(name, justify="right" if number else "left")
    for row, (data, method) in zip(rows, product(grid.spec.data, grid.spec.rows), strict=True):
        if method == grid.spec.rows[0]:
            if data != grid.spec.data[0]:
                table.add_row()
            table.add_row(Text(data, style="italic"))
        if method in grid.spec.baselines[:1]:
            table.add_section()
        styles = ["bold green" if c.best else "" if c.n == c.expected else "dim" for c in grid.row(data, method)]
        table.add_row(Text(f"  {row[1]}"), *map(Text, row[2:], styles))
    console.print(Text(grid.spec.title, style="bold"))
    console.print(Text(caption(grid, best="marked *" if star else "bold")))
    console.print(table)
    for line in warnings(grid):
        console.print(Text(f"Warning: {line}", style="yellow"))
    for line in verdict:
        console.print(Text(line))
