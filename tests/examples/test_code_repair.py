"""The example `code_repair`, with its real tools."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loopkit import ArtifactType
from tests.examples.example_helpers import EXAMPLES, work

PACKAGE = EXAMPLES / "code_repair" / "broken"


@pytest.fixture(autouse=True)
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Folder for the copies that stages make; the tools of this environment are on the PATH."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)  # a repository around it must not matter
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def failing_tests(folder: Path) -> int:
    done = subprocess.run([sys.executable, "-B", "-m", "unittest"], cwd=folder, capture_output=True, text=True)
    return done.returncode


def test_it_repairs_a_copy(scratch: Path, tmp_path: Path) -> None:
    """The run passes on attempt 3, each attempt better than the last; the example is as it was, its copies are gone,
    and the last patch repairs the package."""
    before = content(PACKAGE)
    worked = work("code_repair", {})

    assert worked.run.status == "passed"
    assert worked.run.current_attempt == 3
    assert worked.scores == sorted(set(worked.scores))
    assert [a.filename for a in worked.artifacts if a.artifact_type is ArtifactType.OUTPUT] == [
        f"attempt-{number}.patch" for number in (1, 2, 3)
    ]
    assert content(PACKAGE) == before
    assert list(scratch.iterdir()) == []

    copy = tmp_path / "copy"
    shutil.copytree(PACKAGE, copy)
    assert failing_tests(copy)
    subprocess.run(
        ["git", "apply", "--directory", "copy", "-"], cwd=tmp_path, input=worked.outputs[-1], text=True, check=True
    )
    assert not failing_tests(copy)


def test_what_the_linter_cannot_repair_is_told(tmp_path: Path) -> None:
    """A package with a wrong sum keeps its score, and the feedback names the failing test."""
    tests = tmp_path / "package" / "tests"
    tests.mkdir(parents=True)
    (tests.parent / "sums.py").write_text("def add(a, b):\n    return a - b\n")
    (tests / "__init__.py").write_text("")
    (tests / "test_sums.py").write_text(
        "import unittest\nfrom sums import add\n\n\nclass SumsTest(unittest.TestCase):\n"
        "    def test_add(self):\n        self.assertEqual(add(2, 1), 3)\n"
    )
    worked = work("code_repair", {"folder": str(tests.parent)}, max_attempts=2)
    assert worked.run.status == "failed"
    assert worked.run.final_score == 0.5
    assert "1 of 1 tests fail: test_add." in worked.artifacts[-1].content


def test_a_missing_folder_is_a_plain_error() -> None:
    """The stage's error says what is wrong, without a traceback."""
    worked = work("code_repair", {"folder": "nowhere"})
    assert worked.run.status == "failed"
    assert worked.run.error_message == "produce: exit status 1: there is no folder nowhere"
