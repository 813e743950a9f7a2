"""One run of mypy and one of pyright over what users write: the two files beside this one, and the blocks of pages."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page_helpers import ROOT, blocks, name_of, pages

FRAGMENTS = {"litestar_app.py", "asgi.py", "views.py"}
"""Blocks that show single lines of a host's own file, or import a host without types."""

RECIPES = "_recipe.py"
"""Ending of blocks for packages that are not in this environment; `make frameworks` runs them."""

RELAXED = [
    "--allow-untyped-defs",  # the pages show stages without annotations
    "--allow-untyped-calls",
    "--allow-incomplete-defs",
    "--disable-error-code=index",  # and dicts of mixed values
]


def write_blocks(folder: Path) -> list[str]:
    """Write each Python block of the pages to a file; return what the pages' own names for them are, by file."""
    written = []
    for page in pages():
        for block in blocks(page):
            if block.language == "python" and block.file not in FRAGMENTS and not (block.file or "").endswith(RECIPES):
                name = block.file or f"{page.stem.replace('-', '_')}_{block.line}.py"
                assert not (folder / name).exists(), f"{name_of(page)}:{block.line}: another page has {name}"
                (folder / name).write_text(block.text, encoding="utf-8")
                written.append(name)
    return written


def test_what_users_write_has_the_right_types(tmp_path: Path) -> None:
    """Accepted code is accepted under ``--strict``, each mistake of rejected code is reported, and the pages show no
    name, argument or value that loopkit does not have."""
    assert len(write_blocks(tmp_path)) > 5
    for name in ("accepted.py", "rejected.py"):
        shutil.copy(Path(__file__).with_name(name), tmp_path)
    command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", *RELAXED]
    command += [f"--cache-dir={ROOT / '.out' / 'mypy'}", "."]
    mypy = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250)
    assert mypy.returncode == 0, mypy.stdout + mypy.stderr


def test_pyright_reports_the_mistakes_and_nothing_else(tmp_path: Path) -> None:
    """The lines of rejected code that carry an error for mypy have one of pyright's, and no other line has one.

    basedpyright brings pyright with its Node.js in wheels; the package pyright would download it when it runs.
    """
    program = Path(sys.executable).with_name("basedpyright")
    if not program.exists():
        pytest.skip("basedpyright is not installed")
    write_blocks(tmp_path)
    for name in ("accepted.py", "rejected.py"):
        shutil.copy(Path(__file__).with_name(name), tmp_path)
    settings = {"typeCheckingMode": "standard", "pythonVersion": "3.11", "enableTypeIgnoreComments": False}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [str(program), "--pythonpath", sys.executable, "--outputjson", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250)
    errors = [found for found in json.loads(done.stdout)["generalDiagnostics"] if found["severity"] == "error"]
    lines = {(Path(found["file"]).name, found["range"]["start"]["line"] + 1): found["message"] for found in errors}
    rejected = (tmp_path / "rejected.py").read_text().splitlines()
    expected = {("rejected.py", number) for number, line in enumerate(rejected, 1) if "# type: ignore" in line}
    assert len(expected) > 20
    assert lines.keys() == expected, {place: lines.get(place) for place in lines.keys() ^ expected}
