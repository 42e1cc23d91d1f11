"""Reading Markdown as the tests of the documentation need it: fenced blocks, tables, links, headings, names of files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FILE = re.compile(r"(?<![\w/.:-])((?:proxy|policies|tests|bench|docs)/[\w./-]*|[\w-]+\.(?:md|toml|lock))(?![\w/])")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the file it is in, the line it begins on, its language, its text."""

    file: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.name}:{self.line}"


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(*languages: str) -> list[Block]:
    """Every block of these languages in every document."""
    return [block for file in documents() for block in blocks_of(file, file.read_text()) if block.language in languages]


def blocks_of(file: Path, text: str) -> Iterator[Block]:
    for found in FENCED.finditer(text):
        yield Block(file, text.count("\n", 0, found.start()) + 1, found[1], found[2])


def prose(text: str) -> str:
    """The document without its fenced blocks."""
    return FENCED.sub("", text)


def rows(text: str, head: str) -> list[list[str]]:
    """The cells of the one table whose first line begins with ``head``."""
    tables = re.findall(rf"^\| {re.escape(head)} \|.*\n\|[ |-]+\n((?:\|.*\n?)+)", text, re.MULTILINE)
    assert len(tables) == 1, f"{len(tables)} tables begin with {head!r}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[0].splitlines()]


def coded(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = (re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(prose(text)))
    return set(titles)


def broken_links(file: Path, text: str) -> list[str]:
    """Links to files or headings that are not there. Addresses of the web are not looked at."""
    broken = []
    for target in LINK.findall(prose(text)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        other = (file.parent / name).resolve() if name else file
        if not other.is_file() or (anchor and anchor not in anchors(other.read_text())):
            broken.append(target)
    return broken


def missing_files(text: str) -> list[str]:
    """Names of files and folders of the repository that are not there; ``asgi.py`` counts as of the folder before it."""
    text = LINK.sub("", text)  # these are looked at by where they lead
    named = [found for found in FILE.findall(text) if not (ROOT / found.rstrip(".")).exists()]
    folder = ""
    for word in re.findall(r"[\w./-]+", text):
        if re.fullmatch(r"proxy/[\w/]*/", word):
            folder = word
        elif re.fullmatch(r"\w+\.py", word) and not (ROOT / folder / word).is_file():
            named.append(f"{folder}{word}")
    return named
