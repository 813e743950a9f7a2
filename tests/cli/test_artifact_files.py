"""Artifacts are saved inside the folder or not at all, whatever they are called."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loopkit.core.journal import Artifact, ArtifactType
from loopkit.errors import UnusableOption
from loopkit_cli.artifact_files import save
from loopkit_cli.exits import Refused

OUTPUT = Artifact(
    id=1,
    run_id="run_1",
    attempt=1,
    artifact_type=ArtifactType.OUTPUT,
    filename="attempt-1.md",
    content="draft",
    created_at=datetime(2026, 11, 22, tzinfo=UTC),
)
NAMES = st.one_of(
    st.text(),
    st.lists(st.sampled_from(["..", ".", "/", "\\", "a", "~", "\0", "\n", "-", " "])).map("".join),
)


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def surroundings(base: Path) -> Iterator[tuple[Path, Path]]:
    """An outer folder with a file worth keeping, and an inner one to save into."""
    outer = base / os.urandom(8).hex()
    inner = outer / "inner"
    inner.mkdir(parents=True)
    (outer / "kept").write_text("precious")
    yield outer, inner


@given(names=st.lists(NAMES, min_size=1, max_size=4))
@example(names=["../kept", "/etc/passwd", "..", ""])
@example(names=["A.md", "a.md", ".ssh", "-rf"])
@example(names=["x" * 300, "é" * 100, "a/../../kept", "inner"])
def test_every_artifact_lands_in_the_folder_under_a_name_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    """No name leads outside or into a folder below, none is lost to another of the same name."""
    artifacts = [attrs.evolve(OUTPUT, id=n, filename=name, content=f"draft {n}") for n, name in enumerate(names)]
    with surroundings(tmp_path_factory.getbasetemp()) as (outer, inner):
        saved = save(artifacts, str(inner))
        assert [Path(path).read_text() for path in saved] == [artifact.content for artifact in artifacts]
        assert {Path(path).parent for path in saved} == {inner}
        assert len(tree(inner)) == len(names)
        assert tree(outer).keys() - {f"inner/{name}" for name in tree(inner)} == {"kept"}
        assert not any(path.name.startswith((".", "-")) for path in inner.iterdir())


def test_an_ordinary_name_is_kept(tmp_path: Path) -> None:
    """What loopkit names itself is saved under that name; the folder is made where it is missing."""
    assert save([OUTPUT], str(tmp_path / "a" / "b")) == [str(tmp_path / "a" / "b" / "attempt-1.md")]


def test_no_link_is_followed(tmp_path: Path) -> None:
    """A link in the folder, to a file or to nowhere, is left alone, and so is what it leads to."""
    with surroundings(tmp_path) as (outer, inner):
        for target in (outer / "kept", outer / "nowhere"):
            (inner / "attempt-1.md").unlink(missing_ok=True)
            (inner / "attempt-1.md").symlink_to(target)
            with pytest.raises(Refused, match=r"attempt-1\.md"):
                save([attrs.evolve(OUTPUT, id=2, filename="first.md"), OUTPUT], str(inner))
            assert tree(outer)["kept"] == "precious"
            assert not (outer / "nowhere").exists()
            assert not (inner / "first.md").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A file with other content stays, and then nothing at all is saved; the same content is no obstacle."""
    first = attrs.evolve(OUTPUT, filename="first.md")
    save([OUTPUT], str(tmp_path))
    save([OUTPUT], str(tmp_path))
    (tmp_path / "attempt-1.md").write_text("my own words")
    with pytest.raises(Refused, match="other content"):
        save([first, OUTPUT], str(tmp_path))
    assert tree(tmp_path) == {"attempt-1.md": "my own words"}


def test_a_pipe_or_folder_of_that_name_is_no_file(tmp_path: Path) -> None:
    """They are refused at once; a pipe is not waited for."""
    os.mkfifo(tmp_path / "attempt-1.md")
    with pytest.raises(Refused):
        save([OUTPUT], str(tmp_path))
    (tmp_path / "first.md").mkdir()
    with pytest.raises(Refused):
        save([attrs.evolve(OUTPUT, filename="first.md")], str(tmp_path))


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """The message names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UnusableOption, match=r"--save .*file"):
        save([OUTPUT], str(tmp_path / "file"))
