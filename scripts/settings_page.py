"""Write docs/settings.md, the page of all settings, from the yaml files in conf/ and their comments.

It takes no arguments; a test compares the page with what this writes.
"""

import json
import re
import sys
from typing import Any

from omegaconf import OmegaConf

from cotune_bench.cli import guarded
from cotune_bench.config import CONF, choices
from cotune_bench.errors import UserError
from cotune_bench.storage.escape import markdown
from cotune_bench.storage.files import write_atomically

PAGE = CONF.parent / "docs" / "settings.md"
HEAD = """\
# All settings

Any of these is given on the command line as `name=value`. `cotune-bench run --cfg job` shows those of a run.
This page is written from the comments in `conf/` by `python scripts/settings_page.py`.
"""
TITLES = {"data": "Data sets", "backbone": "Backbones", "method": "Methods"}
SHOWN = re.compile(r"^([\w.]+): *(.*?)(?: # (.*))?$")


def main(arguments: list[str]) -> int:
    """Write the page."""
    if arguments in (["--help"], ["-h"]):
        print(__doc__)
        return 0
    if arguments:
        raise UserError(f"{arguments[0]} has no place here: the page takes no arguments")
    write_atomically(PAGE, page().encode())
    return 0


def page() -> str:
    """The page's text."""
    parts = [HEAD, *_table((CONF / "config.yaml").read_text(encoding="utf-8").partition("\nhydra:")[0], "")]
    parts += ["\n## Protocols\n\n[Protocols](protocols.md) says what each is for.\n", *_protocols()]
    for group, title in TITLES.items():
        parts.append(f"\n## {title}\n")
        for name in choices(group):
            text = (CONF / group / f"{name}.yaml").read_text(encoding="utf-8")
            about = " ".join(line[2:] for line in text.splitlines() if line.startswith("# "))
            rows = _table(text, f"{group}.")
            parts += [f"### `{group}={name}`\n", *([f"{markdown(about)}\n"] if about else []), *rows]
    return "\n".join(parts).rstrip() + "\n"


def _table(text: str, prefix: str) -> list[str]:
    """Settings at the top level of a yaml file; a value without a comment is that of the file alone."""
    found = [SHOWN.match(line) for line in text.splitlines()]
    rows = [
        f"| `{prefix}{one[1]}` | {_code(one[2])} | {markdown(one[3] or '')} |"
        for one in found
        if one and one[1] not in ("defaults", "_target_", "reader", "name", "tune")
    ]
    return ["| setting | default | |", "|---|---|---|", *rows, ""] if rows else []


def _protocols() -> list[str]:
    """A row for each setting, a column for each protocol."""
    found = {name: OmegaConf.load(CONF / "protocol" / f"{name}.yaml") for name in choices("protocol")}
    texts: dict[str, Any] = {name: OmegaConf.to_container(values) for name, values in found.items()}
    rows = [
        [f"`protocol.{name}`", *(_code(_text(values.get(name))) for values in texts.values())]
        for name in texts["paper"]
        if name != "name"
    ]
    head = ["setting", *texts]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _text(value: object) -> str:
    if str(value).startswith("${auto"):
        return "from the images"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _code(value: str) -> str:
    return f"`{value.replace('|', '&#124;')}`" if value else ""


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
