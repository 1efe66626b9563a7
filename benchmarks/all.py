"""All benchmarks in their short form, one after the other, and their table in docs/performance.md.

    python benchmarks/all.py                 all of them, some minutes
    python benchmarks/all.py step startup    these; the others' last figures stay
    python benchmarks/all.py --table         none, the table alone

Each is a process of its own. Its figures go to benchmarks/results/NAME.json once it has ended well.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from harness import ratio_text, span

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "performance.md"
MARKS = r"(<!-- benchmarks -->\n).*?(<!-- end -->)"
#: What each is called with.
SHORT = {
    "startup": ["--rounds", "3"],
    "data_path": ["--rounds", "5"],
    "step": ["--rounds", "3"],
    "photo": ["--rounds", "2", "--updates", "3"],
    "curve": ["--rounds", "3", "--methods", "cotuning"],
    "relationship": [],
    "routing": [],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SHORT))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in SHORT]:
        parser.error(f"{unknown[0]} is unknown: choose from {', '.join(SHORT)}")
    chosen = [] if options.table else options.names or list(SHORT)
    failed = [name for name in chosen if not run(name)]
    text = PAGE.read_text(encoding="utf-8")
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}
    table = markdown({name: found[name] for name in SHORT if name in found})
    PAGE.write_text(re.sub(MARKS, lambda mark: f"{mark[1]}{table}{mark[2]}", text, flags=re.DOTALL), encoding="utf-8")
    print(f"{PAGE.relative_to(HERE.parent)} is up to date" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def run(name: str) -> bool:
    """Whether it ended well; only then its figures replace the last ones."""
    print(f"\n{name}: python benchmarks/{name}.py {' '.join(SHORT[name])}", flush=True)
    started = time.monotonic()
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
        figures = Path(folder) / f"{name}.json"
        command = [sys.executable, str(HERE / f"{name}.py"), *SHORT[name], "--json", str(figures)]
        code = subprocess.run(command, cwd=HERE, check=False).returncode  # noqa: S603
        if code == 0:
            figures.replace(RESULTS / figures.name)
    print(f"{name}: {time.monotonic() - started:.0f} s" + (f", exit code {code}" if code else ""), flush=True)
    return code == 0


def markdown(found: Mapping[str, dict]) -> str:
    """The rows of all benchmarks, then what each printed."""
    lines = ["| | ours | plain | plain over ours |", "|---|---|---|---|"]
    for figures in found.values():
        for row in figures.get("rows", []):
            plain, ratio = (span(row["plain"]), ratio_text(row["ratio"])) if "plain" in row else ("", "")
            lines.append(f"| {row['what']} | {span(row['ours'])} | {plain} | {ratio} |")
    for name, figures in found.items():
        lines += ["", f"`python {' '.join([f'benchmarks/{name}.py', *SHORT[name]])}`", ""]
        lines += ["```text", *figures["printed"], "```"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
