"""``make release``: what it refuses, what it prints and what it does, in a copy of this tree with a real git."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from datetime import date
from pathlib import Path

import attrs
import pytest
from packaging.version import Version

from tools import release

ROOT = Path(__file__).parent.parent
PRESENT = tomllib.loads((ROOT / "packages/loopkit/pyproject.toml").read_text())["project"]["version"]
NEXT = f"{Version(PRESENT).major + 1}.0.0"
PROJECTS = ("loopkit", "loopkit-web", "loopkit-cli")
FRAGMENTS = {
    "pages.fixed.md": "Pages load.\n",
    "prune.added.md": "`prune` deletes\nold runs.\n",
    "a-switch.removed.md": "No switch.\n",
}
IDENTITY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


@attrs.frozen
class Tree:
    """A repository with the packages, the tools and a few fragments, all committed."""

    root: Path

    def git(self, *arguments: str) -> str:
        return self._run("git", *arguments).stdout.strip()

    def release(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(sys.executable, "-m", "tools.release", *arguments, check=False)

    def refusal(self, *arguments: str) -> str:
        """What a release that is not possible answers; it must leave everything as it was."""
        before = self.state()
        done = self.release(*arguments)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert self.state() == before
        return done.stderr

    def state(self) -> tuple[str, ...]:
        return self.git("rev-parse", "HEAD"), self.git("status", "--porcelain"), self.git("tag")

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Change something")

    def rewrite(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        self.commit()

    def _run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | IDENTITY
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=check)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    root = tmp_path / "tree"
    for folder in ("packages", "tools"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    for file in (".gitignore", "CHANGELOG.md"):
        shutil.copy(ROOT / file, root / file)
    (root / "changes.d").mkdir()
    shutil.copy(ROOT / "changes.d/README.md", root / "changes.d")
    for name, text in FRAGMENTS.items():
        (root / "changes.d" / name).write_text(text)
    made = Tree(root)
    made.git("init", "--quiet", "--initial-branch", "main")
    made.commit()
    return made


def test_a_dry_run_says_everything_and_changes_nothing(tree: Tree) -> None:
    """It prints the section, the files, the commit and the tag, and how to do it."""
    before = tree.state()
    done = tree.release(NEXT)
    assert done.returncode == 0, done.stderr
    for line in (
        f"Release of {NEXT}; the present version is {PRESENT}.",
        "    ### Added",
        "    - `prune` deletes",
        "      old runs.",
        "  write   packages/loopkit-web/pyproject.toml",
        "  write   CHANGELOG.md",
        "  remove  changes.d/prune.added.md",
        f"Tag:    v{NEXT} (annotated)",
        f"Nothing was changed. To do it: make release VERSION={NEXT} APPLY=1",
    ):
        assert line in done.stdout.splitlines()
    assert tree.state() == before
    assert not (tree.root / ".out").exists()


def test_a_release_is_one_commit_a_tag_and_six_archives(tree: Tree) -> None:
    """The versions, the change log and the fragments change together, and the archives have the new version."""
    done = tree.release(NEXT, "--apply")
    assert done.returncode == 0, done.stderr
    assert tree.git("log", "--format=%s") == f"Release {NEXT}\nChange something"
    assert tree.git("status", "--porcelain") == ""
    assert tree.git("cat-file", "-t", f"v{NEXT}") == "tag"
    assert tree.git("rev-parse", f"v{NEXT}^{{commit}}") == tree.git("rev-parse", "HEAD")
    assert [path.name for path in (tree.root / "changes.d").iterdir()] == ["README.md"]
    assert f"\n## {NEXT} - " in (tree.root / "CHANGELOG.md").read_text()
    texts = {name: (tree.root / "packages" / name / "pyproject.toml").read_text() for name in PROJECTS}
    assert release.shared_version(texts) == NEXT
    built = {path.name for path in (tree.root / ".out/dist").iterdir() if path.name != ".gitignore"}
    modules = [name.replace("-", "_") for name in PROJECTS]
    assert built == {f"{module}-{NEXT}{end}" for module in modules for end in ("-py3-none-any.whl", ".tar.gz")}
    with zipfile.ZipFile(tree.root / f".out/dist/loopkit_cli-{NEXT}-py3-none-any.whl") as archive:
        metadata = archive.read(f"loopkit_cli-{NEXT}.dist-info/METADATA").decode()
    assert f"Requires-Dist: loopkit=={NEXT}\n" in metadata
    with tarfile.open(tree.root / f".out/dist/loopkit_web-{NEXT}.tar.gz") as archive:
        assert f"loopkit_web-{NEXT}/PKG-INFO" in archive.getnames()
    assert "changes.d holds no fragment" in tree.refusal(f"{Version(NEXT).major + 1}.0.0")


def test_what_cannot_be_built_changes_nothing(tree: Tree) -> None:
    """After a failed build the files are as they were, and there is neither commit nor tag."""
    (tree.root / "packages/loopkit-cli/README.md").unlink()
    tree.commit()
    assert "The release failed; the files are as they were." in tree.refusal(NEXT, "--apply")


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("one", "'one' is not a version (PEP 440): write it like 1.2.0"),
        (f"v{NEXT}", f"v{NEXT} is not in its normal form: write {NEXT}"),
        (f"{NEXT}-rc1", f"{NEXT}-rc1 is not in its normal form: write {NEXT}rc1"),
        (f"{NEXT}+mine", "has a local part (+mine)"),
        (PRESENT, f"{PRESENT} is not higher than the present version, {PRESENT}"),
        (f"{PRESENT}rc1", f"{PRESENT}rc1 is not higher than the present version, {PRESENT}"),
    ],
)
def test_a_wrong_version_is_refused(version: str, message: str) -> None:
    """A version is public, normal and higher than the present one."""
    with pytest.raises(release.ReleaseError) as error:
        release.check_version(version, PRESENT)
    assert message in str(error.value)


@pytest.mark.parametrize("version", [NEXT, f"{NEXT}rc1", f"{PRESENT}.post1"])
def test_a_higher_version_is_taken(version: str) -> None:
    """Candidates and corrections of a release are versions too."""
    release.check_version(version, PRESENT)


@pytest.mark.parametrize("change", ["changed", "new", "staged"])
def test_a_dirty_tree_is_refused(tree: Tree, change: str) -> None:
    """Nothing goes into a release that is not committed, and the message names it."""
    path = tree.root / ("new.txt" if change == "new" else "CHANGELOG.md")
    path.write_text("something else\n")
    if change == "staged":
        tree.git("add", "--all")
    message = tree.refusal(NEXT, "--apply")
    assert "changes that are not committed" in message
    assert path.name in message
    assert path.name in tree.refusal(NEXT)


def test_a_tag_is_not_given_twice(tree: Tree) -> None:
    """A version that was released stays what it was."""
    tree.git("tag", f"v{NEXT}")
    assert f"the tag v{NEXT} exists" in tree.refusal(NEXT, "--apply")


def test_packages_of_different_versions_are_refused(tree: Tree) -> None:
    """The message names all three."""
    tree.rewrite("packages/loopkit-web/pyproject.toml", f'version = "{PRESENT}"', 'version = "0.0.1"')
    message = tree.refusal(NEXT)
    assert f"different versions (loopkit {PRESENT}, loopkit-web 0.0.1, loopkit-cli {PRESENT})" in message


@pytest.mark.parametrize("pin", ["loopkit>={}", "loopkit", "loopkit==0.0.1"])
def test_a_pin_that_is_not_exact_is_refused(tree: Tree, pin: str) -> None:
    """The packages lean on each other's modules, so that only the same version is right."""
    wrong = pin.format(PRESENT)
    tree.rewrite("packages/loopkit-cli/pyproject.toml", f'"loopkit=={PRESENT}"', f'"{wrong}"')
    message = tree.refusal(NEXT)
    assert f'packages/loopkit-cli/pyproject.toml: "{wrong}" must be "loopkit=={PRESENT}"' in message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.feature.md", "New.", "feature is not a kind of change; the kinds are added, changed, removed"),
        ("added.md", "New.", "changes.d/added.md: a fragment is called <topic>.<kind>.md"),
        ("notes.txt", "New.", "changes.d/notes.txt: a fragment is called <topic>.<kind>.md"),
        ("x.added.md", " \n", "changes.d/x.added.md is empty"),
    ],
)
def test_a_wrong_fragment_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    """Its name and what is wrong with it are said."""
    (tmp_path / "changes.d").mkdir()
    (tmp_path / "changes.d" / name).write_text(text)
    with pytest.raises(release.ReleaseError) as error:
        release.read_fragments(tmp_path / "changes.d")
    assert message in str(error.value)


def test_the_fragments_here_can_be_released() -> None:
    """Each is named as it must be, and the page about them lists the same kinds."""
    folder = ROOT / "changes.d"
    for path in folder.iterdir():
        if path.name != "README.md":
            release.read_fragment(path)
    listed = (folder / "README.md").read_text().partition("the kind is one of\n")[2].partition(". ")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(release.KINDS)


def test_sections_follow_each_other_newest_first() -> None:
    """A section goes below what is unreleased and above earlier versions; the rest of the page stays."""
    page = (ROOT / "CHANGELOG.md").read_text().partition("\n## Unreleased\n")[0] + "\n## Unreleased\n\nSee there.\n"
    fragments = [release.Fragment(Path("x"), kind, f"It is {kind}.\n\nMore.") for kind in ("security", "added")]
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        page = release.with_section(page, release.changelog_section(version, date(2030, 1, 2), fragments))
    section = (
        "## {} - 2030-01-02\n\n### Added\n\n- It is added.\n\n  More.\n\n### Security\n\n- It is security.\n\n  More.\n"
    )
    _, _, sections = page.partition("See there.\n\n")
    assert sections == "\n".join(section.format(version) for version in ("1.2.0", "1.1.0", "1.0.0"))
