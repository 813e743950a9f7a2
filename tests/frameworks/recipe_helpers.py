"""Recipes on the pages: blocks with the name of a file, which are modules that tests import."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from tests.docs.page_helpers import blocks


def recipes(page: Path) -> dict[str, str]:
    """Return the recipes of a page, by the name of their file."""
    return {block.file: block.text for block in blocks(page) if block.file}


def module_of(folder: Path, name: str, text: str) -> Any:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
