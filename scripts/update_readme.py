"""Put generated pieces into README.md and the pages on results: all between a mark and <!-- end -->.

<!-- grid:TABLE --> is that table, <!-- verdict:TABLE --> its verdict column by column, <!-- figure:TABLE NAME --> its
figure of this name, kept in docs/images. Takes the overrides of run.py, such as results=FOLDER, and table=NAME for
the pieces of some tables alone.
"""

import os
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from cotune_bench.cli import guarded
from cotune_bench.cli.parser import take_tables
from cotune_bench.errors import UserError
from cotune_bench.reports.build import table_grid
from cotune_bench.reports.figures import grid_figures, image
from cotune_bench.reports.grid import Grid
from cotune_bench.reports.tables import to_markdown
from cotune_bench.reports.verdict import table_sentence, verdicts
from cotune_bench.storage.escape import markdown
from cotune_bench.storage.files import write_atomically

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "desk-benchmark.md", ROOT / "docs" / "photographs.md")
MARK = (
    r"(?P<start><!-- (?P<kind>grid|verdict|figure):(?P<table>[\w-]+)(?: (?P<name>[\w-]+))? -->)\n"
    r".*?(?P<end><!-- end -->)"
)


def main(overrides: list[str], pages: Sequence[Path] = PAGES) -> int:
    """Render every piece that the pages ask for from the records; nothing is written if one cannot be made."""
    if "--help" in overrides or "-h" in overrides:
        print(__doc__)
        return 0
    tables, overrides = take_tables(overrides)
    images = pages[0].parent / "docs" / "images"
    written: dict[Path, bytes] = {}

    @cache
    def found(table: str) -> tuple[Grid, Path]:
        grid, results, _ = table_grid(table, overrides)
        if not any(cell.n for cell in grid.cells):
            raise UserError(f"table {table} has no runs: python run.py table={table}")
        return grid, results

    def piece(mark: re.Match[str], page: Path) -> str:
        if tables and mark["table"] not in tables:
            return mark[0]
        grid, results = found(mark["table"])
        if mark["kind"] == "grid":
            text = to_markdown(grid, [table_sentence(grid)])
            body = text.partition("\n")[2].strip()  # its heading would be a second title of the page
        elif mark["kind"] == "verdict":
            body = "\n".join(f"- {markdown(one.sentence)}" for one in verdicts(grid))
        else:
            known = {one.name: one for one in grid_figures(grid, results)[0]}
            if mark["name"] not in known:
                raise UserError(f"table {mark['table']} has no figure {mark['name']}: choose {', '.join(known)}")
            path = images / f"{mark['name']}.svg"
            written[path] = image(known[mark["name"]].figure, "svg")
            place = Path(os.path.relpath(path, page.parent)).as_posix()
            body = f"![{markdown(known[mark['name']].caption)}]({place})"
        return f"{mark['start']}\n{body}\n{mark['end']}"

    for page in pages:
        text = page.read_text(encoding="utf-8")
        written[page] = re.sub(MARK, lambda mark, page=page: piece(mark, page), text, flags=re.DOTALL).encode()
    for path, content in written.items():
        write_atomically(path, content)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
