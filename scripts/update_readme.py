"""Put generated pieces into README.md: whatever stands between <!-- grid:NAME --> and <!-- end --> is that table."""

import re
import sys
from pathlib import Path

from cotune_bench.cli import guarded
from cotune_bench.errors import UserError
from cotune_bench.files import write_atomically
from cotune_bench.reports.make import table_grid
from cotune_bench.reports.tables import to_markdown

README = Path(__file__).parents[1] / "README.md"


def main(overrides: list[str]) -> int:
    """Render every table that the README asks for from the records; overrides as for run.py."""
    text = README.read_text(encoding="utf-8")

    def table(place: re.Match[str]) -> str:
        grid, _, _ = table_grid(place["name"], overrides)
        if not any(cell.n for cell in grid.cells):
            raise UserError(f"table {place['name']} has no runs: python run.py table={place['name']}")
        body = to_markdown(grid).partition("\n")[2].strip()  # its heading would be a second title of the page
        return f"{place['start']}\n{body}\n{place['end']}"

    pattern = r"(?P<start><!-- grid:(?P<name>[\w-]+) -->)\n.*?(?P<end><!-- end -->)"
    write_atomically(README, re.sub(pattern, table, text, flags=re.DOTALL).encode())
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
