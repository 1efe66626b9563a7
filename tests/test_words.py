"""Plain field terms: refused words in README, docs, yaml files, docstrings, comments, messages and names."""

import ast
import io
import re
import tokenize

import pytest

from cotune_bench.config import CONF, PACKAGE

ROOT = PACKAGE.parents[1]
#: Words that are refused, as regular expressions, each with what to write instead.
INSTEAD = (
    (r"told|tells?|telling", "reports, prints, returns, states, shows; distinguish for 'tell apart'"),
    (r"h[au]ngs? on|hanging on", "depends on"),
    (r"is at it|are at it", "is running"),
    (r"of what", "of the ..., name it"),
    (r"anew", "again"),
    (r"by hand", "manually"),
    (r"(?-i:is none|are none)", "is not"),
    (r"signs", "characters"),
    (r"lies?|lay|lying", "is in, is stored in, is above"),
    (r"for want of", "because there is no"),
    (r"tak(?:es?|ing) (?:\w+ )?up again", "resumes"),
    (r"heard of", "last heartbeat"),
    (r"stays? shut", "is never read"),
    (r"go(?:es)? on|going on|went on", "continues, resumes"),
    (r"no torch in sight", "imports no torch"),
)
REFUSED = [(re.compile(rf"\b(?:{words})\b", re.IGNORECASE), instead) for words, instead in INSTEAD]
NAMES = {"told", "tell", "tells"}
#: Pages of prose; the changelog of docs/ is CHANGELOG.md, whose old entries stay.
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "changelog.md")]
SETTINGS = sorted(CONF.rglob("*.yaml"))
MODULES = sorted(PACKAGE.rglob("*.py"))


def refused(text: str) -> list[str]:
    """A line for each refused word; line breaks count as spaces, inline code and addresses of links do not count."""
    text = re.sub(r"`[^`\n]*`|\]\([^)]*\)", "`", text)
    text = re.sub(r"\s+(?:#:? )?", " ", text)
    return [f"{found[0]!r} in {text[max(0, found.start() - 40) : found.end() + 30]!r}: say {instead}"
            for pattern, instead in REFUSED for found in pattern.finditer(text)]  # fmt: skip


def test_prose_and_settings_have_none_of_the_refused_words():
    for page in (*PAGES, *SETTINGS):
        text = page.read_text(encoding="utf-8")
        text = re.sub(r"^```.*?^```$|^<!-- \w+:\w+ -->$.*?^<!-- end -->$", "", text, flags=re.DOTALL | re.MULTILINE)
        assert refused(text) == [], page


def test_strings_comments_and_names_of_modules_have_none_of_the_refused_words():
    for file in MODULES:
        source = file.read_text(encoding="utf-8")
        strings = [node.value for node in ast.walk(ast.parse(source))
                   if isinstance(node, ast.Constant) and isinstance(node.value, str)]  # fmt: skip
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
        comments = "\n".join(token.string for token in tokens if token.type == tokenize.COMMENT)
        names = {part for token in tokens if token.type == tokenize.NAME for part in token.string.lower().split("_")}
        assert [found for text in [*strings, comments] for found in refused(text)] == [], file
        assert names & NAMES == set(), file


def test_names_of_tests_have_none_of_the_refused_words():
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py")]
    names = [name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)]
    assert refused(". ".join(name.replace("_", " ") for name in names)) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [("It depends on the seed; a `told` setting.", 0), ("They hang\non it and\n# go on.", 2), ("Is told anew", 2)],
)
def test_refused_words_are_found_across_lines_and_not_in_code(text, count):
    assert len(refused(text)) == count
