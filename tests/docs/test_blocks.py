"""The code blocks of the documentation do what the pages say."""

from pathlib import Path

import pytest

from tests.docs.page_helpers import Folder, blocks, name_of, pages

RUN = {"python", "console", "yaml", "json"}
KNOWN = RUN | {"sh", "sql", "text", "ini", "dockerfile", "mermaid", "html", "nginx"}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_blocks_work(page: Path, tmp_path: Path) -> None:
    """Every block of a page can be run where it says that it can, in the order of the page."""
    folder = Folder(tmp_path)
    for block in blocks(page):
        assert block.language in KNOWN, f"{name_of(page)}:{block.line}: name the block's language"
        if block.language in RUN or block.file:
            try:
                folder.run(block)
            except Exception as error:
                raise AssertionError(f"{name_of(page)}:{block.line}: {error}") from error
