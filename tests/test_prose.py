"""Pages for readers: their links lead somewhere, they are short enough to read, and they are written in plain English.

`nox -s lint` checks the spelling as well.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
    *sorted((ROOT / "examples").rglob("*.md")),
]
LONGEST_PAGE = 300
MAY_BE_LONG = ("reference/",)
"""Pages to look things up in, under docs/."""

STILTED = {
    "a page addresses its reader": r"\bwhoever\b",
    "name the thing": r"\bwhatever is\b",
    "say who does not tell whom": r"\bnobody is told\b",
    "say who tells whom": r"\bwhat\b[^.:;|]{0,60}\bis (?:told|refused|said)\b",
    "say what it is": r"\bwhat is [^.:;,|?]{0,60} is\b",
    "write 'the ones that'": r"\bthose who\b",
}

FENCE = re.compile(r"^ *(`{3,}|~{3,}|:{3,}).*$")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")


def prose_of(text: str) -> list[str]:
    """The lines of a page; those of code blocks are empty."""
    lines: list[str] = []
    closing = ""
    for line in text.splitlines():
        fence = FENCE.match(line)
        if closing:
            if fence and line.strip() == closing:
                closing = ""
            lines.append("")
        elif fence and fence[1].startswith("`"):
            closing = fence[1]
            lines.append("")
        else:
            lines.append(line)
    return lines


def anchors_of(text: str) -> set[str]:
    """The anchors that GitHub and MyST make of headings, and those that a page sets by itself."""
    found: set[str] = set()
    for line in prose_of(text):
        if heading := re.match(r"#{1,6} +(.*)", line):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
            slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            found.add(next(name for name in (slug, *(f"{slug}-{n}" for n in range(1, 99))) if name not in found))
        elif target := re.match(r"\(([\w-]+)\)=$", line):
            found.add(target[1])
    return found


def broken_links(page: Path, text: str) -> list[str]:
    broken: list[str] = []
    prose = re.sub(r"`[^`\n]+`", "``", "\n".join(prose_of(text)))
    for url in LINK.findall(prose):
        if re.match(r"[a-z]+:", url):
            continue
        name, _, anchor = url.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists():
            broken.append(f"{url}: there is no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors_of(target.read_text(encoding="utf-8")):
            broken.append(f"{url}: there is no such heading")
    return broken


def stilted(paragraphs: Iterable[str]) -> list[str]:
    return [
        f"{reason}: {match[0]}"
        for paragraph in paragraphs
        for reason, words in STILTED.items()
        for match in re.finditer(words, " ".join(paragraph.split()), re.IGNORECASE)
    ]


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_a_page_is_written_in_plain_english(page: Path) -> None:
    text = "\n".join(prose_of(page.read_text(encoding="utf-8")))
    assert stilted(re.split(r"\n\s*\n|\n(?=[|*-])", text)) == []


@pytest.mark.parametrize("module", sorted((ROOT / "trealtime").rglob("*.py")), ids=page_id)
def test_docstrings_are_written_in_plain_english(module: Path) -> None:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))) if isinstance(node, kinds)]
    paragraphs = [words for node in nodes for words in (ast.get_docstring(node) or "").split("\n\n")]
    assert stilted(paragraphs) == []


def test_pages_are_short_enough_to_read() -> None:
    docs = [page for page in PAGES if page.is_relative_to(ROOT / "docs")]
    lengths = {page.relative_to(ROOT / "docs").as_posix(): len(page.read_text("utf-8").splitlines()) for page in docs}
    long = {name: lines for name, lines in lengths.items() if lines > LONGEST_PAGE}
    assert {name: lines for name, lines in long.items() if not name.startswith(MAY_BE_LONG)} == {}


def test_every_page_of_a_folder_is_in_its_contents() -> None:
    missing = []
    for index in (ROOT / "docs").rglob("index.md"):
        listed = set(re.findall(r"^[\w/.-]+$", index.read_text(encoding="utf-8"), re.MULTILINE))
        here = {page.stem for page in index.parent.glob("*.md")} - {"index"}
        missing += [f"{index.parent.name}/{name}" for name in here - listed]
    assert missing == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One thing\n\n`[x](y)`\n")
    text = "[a](page.md#one-thing) [b\nc](page.md#other) [`d`](gone.md) ![e](https://x.example/) [f](#one-thing)"
    text += "\n```\n[g](gone.md)\n```\n"
    assert [found.partition(":")[0] for found in broken_links(page, text)] == ["page.md#other", "gone.md"]
