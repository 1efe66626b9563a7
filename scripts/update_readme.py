"""Put generated pieces into README.md: whatever stands between a mark and <!-- end -->.

<!-- grid:TABLE --> is that table, <!-- figure:TABLE NAME --> its figure of this name, kept in docs/images.
"""

import re
import sys
from functools import cache
from pathlib import Path

from cotune_bench.cli import guarded
from cotune_bench.errors import UserError
from cotune_bench.files import write_atomically
from cotune_bench.reports.figures import grid_figures, image
from cotune_bench.reports.grid import Grid
from cotune_bench.reports.make import table_grid
from cotune_bench.reports.tables import escaped, to_markdown
from cotune_bench.reports.verdict import table_sentence

README = Path(__file__).parents[1] / "README.md"
IMAGES = Path("docs/images")  # beside the README
MARK = r"(?P<start><!-- (?P<kind>grid|figure):(?P<table>[\w-]+)(?: (?P<name>[\w-]+))? -->)\n.*?(?P<end><!-- end -->)"


def main(overrides: list[str], readme: Path = README) -> int:
    """Render every table and figure that the README asks for from the records; overrides as for run.py."""
    images: dict[Path, bytes] = {}

    @cache
    def found(table: str) -> tuple[Grid, Path]:
        grid, results, _ = table_grid(table, overrides)
        if not any(cell.n for cell in grid.cells):
            raise UserError(f"table {table} has no runs: python run.py table={table}")
        return grid, results

    def piece(mark: re.Match[str]) -> str:
        grid, results = found(mark["table"])
        if mark["kind"] == "grid":
            text = to_markdown(grid, [table_sentence(grid)])
            body = text.partition("\n")[2].strip()  # its heading would be a second title of the page
        else:
            known = {one.name: one for one in grid_figures(grid, results)[0]}
            if mark["name"] not in known:
                raise UserError(f"table {mark['table']} has no figure {mark['name']}: choose {', '.join(known)}")
            path = IMAGES / f"{mark['name']}.svg"
            images[path] = image(known[mark["name"]].figure, "svg")
            body = f"![{escaped(known[mark['name']].caption)}]({path.as_posix()})"
        return f"{mark['start']}\n{body}\n{mark['end']}"

    text = re.sub(MARK, piece, readme.read_text(encoding="utf-8"), flags=re.DOTALL)
    for path, content in {**images, Path(readme.name): text.encode()}.items():
        write_atomically(readme.parent / path, content)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
