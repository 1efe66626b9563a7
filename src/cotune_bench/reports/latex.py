r"""A grid as a LaTeX table that needs the packages booktabs and multirow, and nothing else."""

import re

from cotune_bench.reports.captions import caption, warnings
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.tables import cell_text, display_name, display_rate

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    " %": r"~\%",  # a number and its sign stay on one line
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # the default font encoding has no straight quote
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
}


def escape(text: str) -> str:
    """Text that LaTeX sets as it reads, on one line."""
    return re.sub("|".join(map(re.escape, SPECIAL)), lambda match: SPECIAL[match[0]], " ".join(text.split()))


def to_latex(grid: Grid) -> str:
    r"""A ``table`` with the label ``tab:<name>``, one ``\multirow`` group per data set, and the warnings below."""
    spec = grid.spec
    title = re.sub(r"^Table \w+: ", "", spec.title)  # LaTeX numbers tables itself
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage{multirow}",
        r"\begin{table}",
        r"\centering",
        r"\caption{" + escape(f"{title}. {caption(grid)}") + "}",
        rf"\label{{tab:{spec.name}}}",
        r"\par\medskip",  # plain article puts no space below a caption
        r"\small\setlength{\tabcolsep}{3pt}",  # four rates with their spreads fit the text width of an article
        r"\begin{tabular}{@{}ll" + "r" * len(spec.rates) + "@{}}",
        r"\toprule",
        _row("Data set", "Method", *(escape(display_rate(rate)) for rate in spec.rates)),
    ]
    for data in spec.data:
        lines.append(r"\midrule")
        name = rf"\multirow{{{len(spec.rows)}}}{{*}}{{{escape(data)}}}"
        for method in spec.rows:
            if method in spec.baselines[:1]:
                lines.append(rf"\cmidrule{{2-{2 + len(spec.rates)}}}")  # the data set's name stands across it
            lines.append(_row(name, escape(display_name(method)), *map(_cell, grid.row(data, method))))
            name = ""
    lines += [r"\bottomrule", r"\end{tabular}"]
    if told := warnings(grid):
        lines += [r"\par\smallskip", r"\parbox{\linewidth}{\footnotesize\raggedright"]
        lines += [*(escape(line) for line in told), "}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _row(*texts: str) -> str:
    return " & ".join(texts).lstrip() + r" \\"


def _cell(cell: Cell) -> str:
    plain = escape(cell_text(cell, best="{}"))
    if not cell.best:
        return plain
    mean, gap, rest = plain.partition(" (")  # the number of runs stays upright, as in the other formats
    return rf"\textbf{{{mean}}}{gap}{rest}"
