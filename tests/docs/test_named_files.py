"""Names on the pages for contributors exist: files, folders, tests, settings of the tests, make targets."""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.docs.page_helpers import DOCS, ROOT, name_of
from tests.docs.test_links import anchors, links, tokens

PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "tests/README.md", DOCS / "explanation/architecture.md"]
SQL = ROOT / "packages/loopkit/src/loopkit/stores/sql"
BASES = [ROOT, SQL, *sorted((ROOT / "packages").glob("*/src"))]
"""Folders in which a path may begin: ``packages/loopkit/src`` for ``loopkit/core``, and others."""

SUFFIXES = ("py", "md", "toml", "yaml", "yml", "svg", "html", "css", "js")
PATH = re.compile(rf"[\w.-]+(?:/[\w.*-]+)+/?|[\w-]+\.(?:{'|'.join(SUFFIXES)})")
ELSEWHERE = (".out", ".venv", "agents.yaml")
"""Files that only ``make`` creates, and files of users."""


def code(page: Path) -> Iterator[str]:
    """The words of a page's code: of its code spans and of its blocks."""
    for token in tokens(page):
        if token.type == "fence":
            yield from token.content.split()
        for child in token.children or ():
            if child.type == "code_inline":
                yield from child.content.split()


def named_paths(page: Path) -> set[str]:
    words = (word.strip("`'\"(),:;").partition("::")[0] for word in code(page))
    return {word for word in words if PATH.fullmatch(word) and not word.startswith(ELSEWHERE)}


def exists(path: str, page: Path) -> bool:
    return any(any(base.glob(path.rstrip("/"))) for base in (*BASES, page.parent))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_files_exist(page: Path) -> None:
    """A path in code is that of a file or folder: from the root, from a package's ``src``, or beside the page."""
    named = named_paths(page)
    assert len(named) > 3
    assert sorted(path for path in named if not exists(path, page)) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_these_pages_lead_somewhere(page: Path) -> None:
    """Those that lie outside of ``docs`` too."""
    for link in links(page):
        if "://" not in link:
            path, _, fragment = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{link} leads nowhere"
            assert not fragment or fragment in anchors(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_tests_exist(page: Path) -> None:
    """A name that begins with ``test_`` is that of a test or of a file of tests."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    functions = set(re.findall(r"def (test_\w+)", sources))
    files = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    named = {name for word in code(page) for name in re.findall(r"\btest_\w+", word)}
    assert named <= functions | files


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_targets_exist(page: Path) -> None:
    """Each word after ``make`` is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = [part.content for token in tokens(page) for part in (token.children or [token])]
    named = {name for text in texts for name in re.findall(r"^make ([a-z]+)", text, re.MULTILINE)}
    assert named <= targets


def test_every_length_of_a_test_is_listed() -> None:
    """Each ``LOOPKIT_TEST_`` variable that the tests read has its place in their README, and no other is there."""
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.parent.name != "docs"]
    sources = [path.read_text(encoding="utf-8") for path in files]
    read = {f"LOOPKIT_TEST_{name.upper()}" for text in sources for name in re.findall(r'\bcount\("(\w+)", ', text)}
    read |= {name for text in sources for name in re.findall(r'"(LOOPKIT_TEST_[A-Z_]*[A-Z])"', text)}
    assert set(re.findall(r"LOOPKIT_TEST_[A-Z_]*[A-Z]", (ROOT / "tests/README.md").read_text())) == read


def test_every_folder_of_tests_is_listed() -> None:
    """The table has a row for each folder, and each folder says in a docstring what it is."""
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")} - {ROOT / "tests"}
    listed = set(re.findall(r"^\| \[([\w/]+)\]\(\1\)", (ROOT / "tests/README.md").read_text(), re.MULTILINE))
    assert {str(folder.relative_to(ROOT / "tests")) for folder in folders} == listed
    for folder in folders:
        assert (folder / "__init__.py").read_text().startswith('"""'), folder


def test_every_marker_is_explained() -> None:
    """The page for contributors has a row for each marker."""
    listed = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    section = (ROOT / "pyproject.toml").read_text().partition("\nmarkers = [")[2].partition("]")[0]
    assert listed == set(re.findall(r'"(\w+):', section))


def test_the_drawing_names_what_is_there() -> None:
    """Each path in the drawing of the packages is that of a file or folder, and the drawing can be read aloud."""
    drawing = ET.parse(DOCS / "explanation/architecture.svg").getroot()
    tags = {element.tag.rpartition("}")[2]: element for element in drawing.iter()}
    assert tags["title"].text
    assert tags["desc"].text
    labels = [element for element in drawing.iter() if element.get("class") == "path"]
    paths = [label.get("data-path") or "".join(label.itertext()) for label in labels]
    assert len(paths) > 20
    assert [path for path in paths if not exists(path, DOCS)] == []
