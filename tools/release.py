"""Release of the three packages under one version: change log, versions, commit, tag and archives.

``python -m tools.release VERSION`` prints what a release would do and changes nothing; ``--apply`` does it. Nothing is
published: pushing the commit and the tag, and uploading the archives in ``.out/dist``, are left to a person.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from tools import packages

ROOT = Path(__file__).resolve().parent.parent
CHANGELOG = ROOT / "CHANGELOG.md"
FRAGMENTS = ROOT / "changes.d"

KINDS = {"added": "Added", "changed": "Changed", "removed": "Removed", "fixed": "Fixed", "security": "Security"}
"""Kind of a fragment, as its file name has it -> its heading in the change log, in the order of the headings."""

UNRELEASED = "## Unreleased"


class ReleaseError(Exception):
    """Reason why there can be no release as asked for, with what to do about it."""


class Fragment(NamedTuple):
    """One file of ``changes.d``."""

    path: Path
    kind: str
    text: str


class Plan(NamedTuple):
    """Everything that a release changes."""

    version: str
    present: str
    """Version that the tree has now."""
    section: str
    """Section of the change log."""
    written: dict[Path, str]
    """Files with their new content."""
    removed: list[Path]

    @property
    def tag(self) -> str:
        return f"v{self.version}"


def main() -> None:
    """Print the plan of a release and, with ``--apply``, execute it."""
    parser = argparse.ArgumentParser(prog="tools.release", description="Release loopkit, loopkit-web and loopkit-cli.")
    parser.add_argument("version", help="the new version of all three, as PEP 440 writes it: 1.2.0, 1.2.0rc1")
    parser.add_argument("--apply", action="store_true", help="do it; without this, only print what would be done")
    arguments = parser.parse_args()
    try:
        plan = make_plan(arguments.version, datetime.now(UTC).date())
        print(describe(plan))
        if not arguments.apply:
            print(f"Nothing was changed. To do it: make release VERSION={plan.version} APPLY=1")
            return
        execute(plan)
        print(f"Committed and tagged {plan.tag}; the archives are in {packages.DIST.relative_to(ROOT)}.")
        print("Nothing was published: push the commit and the tag and upload the archives when you are content.")
    except ReleaseError as error:
        sys.exit(f"release: {error}")


def make_plan(version: str, today: date) -> Plan:
    """Return what a release changes. Raise ReleaseError when the tree or the version does not allow one."""
    projects = {name: ROOT / "packages" / name / "pyproject.toml" for name in packages.PACKAGES}
    present = shared_version({name: path.read_text(encoding="utf-8") for name, path in projects.items()})
    check_version(version, present)
    check_repository(f"v{version}")
    fragments = read_fragments(FRAGMENTS)
    section = changelog_section(version, today, fragments)
    written = {CHANGELOG: with_section(CHANGELOG.read_text(encoding="utf-8"), section)}
    changed = {name: with_version(path.read_text(encoding="utf-8"), version) for name, path in projects.items()}
    if shared_version(changed) != version:
        raise ReleaseError(f"the pyproject.toml files do not all take the version {version}: set it by hand")
    written |= {projects[name]: text for name, text in changed.items()}
    return Plan(version, present, section, written, [fragment.path for fragment in fragments])


def shared_version(projects: dict[str, str]) -> str:
    """Return the version that all packages have and by which they ask for each other.

    Args:
        projects: package -> the text of its pyproject.toml.
    """
    declared: dict[str, dict[str, Any]] = {name: tomllib.loads(text)["project"] for name, text in projects.items()}
    versions = {name: project["version"] for name, project in declared.items()}
    if len(set(versions.values())) != 1:
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        raise ReleaseError(f"the packages have different versions ({listed}): give them the same one")
    (version,) = set(versions.values())
    for name, project in declared.items():
        extras = project.get("optional-dependencies", {}).values()
        for line in (*project["dependencies"], *(line for lines in extras for line in lines)):
            requirement = Requirement(line)
            if requirement.name in projects and str(requirement.specifier) != f"=={version}":
                raise ReleaseError(
                    f'packages/{name}/pyproject.toml: "{line}" must be "{requirement.name}=={version}", '
                    "since the packages use each other's inner modules"
                )
    return str(version)


def check_version(version: str, present: str) -> None:
    """Raise ReleaseError unless a version is public, written in its normal form and higher than the present one."""
    try:
        wanted = Version(version)
    except InvalidVersion:
        raise ReleaseError(f"{version!r} is not a version (PEP 440): write it like 1.2.0 or 1.2.0rc1") from None
    if wanted.local:
        raise ReleaseError(f"{version} has a local part (+{wanted.local}), which no index accepts: leave it out")
    if str(wanted) != version:
        raise ReleaseError(f"{version} is not in its normal form: write {wanted}")
    if wanted <= Version(present):
        raise ReleaseError(f"{version} is not higher than the present version, {present}: choose a higher one")


def check_repository(tag: str) -> None:
    """Raise ReleaseError when there is the tag already, or anything that is not committed."""
    if changes := git("status", "--porcelain").rstrip():
        raise ReleaseError(f"the tree has changes that are not committed; commit or remove them first:\n{changes}")
    if git("tag", "--list", tag):
        raise ReleaseError(f"the tag {tag} exists: that version was released, choose a higher one")


def read_fragments(folder: Path) -> list[Fragment]:
    """Return the fragments by kind, in the order of the headings, and by name. Raise ReleaseError for a bad one."""
    fragments = [read_fragment(path) for path in sorted(folder.glob("*")) if path.name != "README.md"]
    if not fragments:
        raise ReleaseError(f"{folder.name} holds no fragment, so there is nothing to release")
    return sorted(fragments, key=lambda fragment: list(KINDS).index(fragment.kind))


def read_fragment(path: Path) -> Fragment:
    """Return one fragment. Raise ReleaseError for a wrong name or an empty file."""
    name = f"{path.parent.name}/{path.name}"
    match = re.fullmatch(r"[a-z0-9-]+\.([a-z]+)\.md", path.name)
    if match is None:
        raise ReleaseError(f"{name}: a fragment is called <topic>.<kind>.md (changes.d/README.md)")
    if match[1] not in KINDS:
        raise ReleaseError(f"{name}: {match[1]} is not a kind of change; the kinds are {', '.join(KINDS)}")
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        raise ReleaseError(f"{name} is empty: write a sentence for users, or delete it")
    return Fragment(path, match[1], text)


def changelog_section(version: str, today: date, fragments: list[Fragment]) -> str:
    """Return the section of a version: a heading for each kind of change, under it an entry for each fragment."""
    parts = [f"## {version} - {today.isoformat()}"]
    for kind, heading in KINDS.items():
        entries = [entry(fragment.text) for fragment in fragments if fragment.kind == kind]
        if entries:
            parts.append(f"### {heading}\n\n" + "\n".join(entries))
    return "\n\n".join(parts) + "\n"


def entry(text: str) -> str:
    """Return a text as an item of a list, its further lines indented."""
    first, *rest = text.splitlines()
    return "\n".join([f"- {first}", *(f"  {line}".rstrip() for line in rest)])


def with_section(changelog: str, section: str) -> str:
    """Return the change log with a section below what is unreleased and above all earlier versions."""
    before, unreleased, after = changelog.partition(f"\n{UNRELEASED}\n")
    if not unreleased:
        raise ReleaseError(f'CHANGELOG.md has no heading "{UNRELEASED}": add it above the versions')
    pointer, earlier, versions = after.partition("\n## ")
    rest = f"\n{earlier.lstrip()}{versions}" if earlier else ""
    return f"{before}{unreleased}{pointer.rstrip()}\n\n{section}{rest}"


def with_version(project: str, version: str) -> str:
    """Return a pyproject.toml with another version, also in what it asks of the other packages."""
    project = re.sub(r'^version = ".*"$', f'version = "{version}"', project, count=1, flags=re.MULTILINE)
    names = "|".join(map(re.escape, packages.PACKAGES))
    return re.sub(rf'"((?:{names})(?:\[[\w,-]*\])?)==[^"]*"', rf'"\1=={version}"', project)


def describe(plan: Plan) -> str:
    """Return the plan for a person to read."""
    files = [f"  write   {path.relative_to(ROOT)}" for path in plan.written]
    files += [f"  remove  {path.relative_to(ROOT)}" for path in plan.removed]
    return "\n".join(
        [
            f"Release of {plan.version}; the present version is {plan.present}.",
            "",
            "Section of CHANGELOG.md:",
            "",
            *(f"    {line}".rstrip() for line in plan.section.splitlines()),
            "",
            "Files:",
            "",
            *files,
            "",
            f"Commit: {subject(plan)}",
            f"Tag:    {plan.tag} (annotated)",
            f"Builds: a wheel and an sdist of {', '.join(packages.PACKAGES)}",
            "",
        ]
    )


def subject(plan: Plan) -> str:
    """Return the subject of the commit."""
    return f"Release {plan.version}"


def execute(plan: Plan) -> None:
    """Write the files, build the archives, commit and tag; when building or committing fails, restore the tree."""
    try:
        for path, text in plan.written.items():
            path.write_text(text, encoding="utf-8")
        for path in plan.removed:
            path.unlink()
        packages.build()
        git("add", "--all", "--", ".")
        git("commit", "--quiet", "--message", subject(plan))
    except BaseException:
        git("restore", "--source=HEAD", "--staged", "--worktree", "--", ".")  # it was clean, so nothing is lost
        print("The release failed; the files are as they were.", file=sys.stderr)
        raise
    git("tag", "--annotate", plan.tag, "--message", f"loopkit {plan.version}")


def git(*arguments: str) -> str:
    """Run git in the repository and return what it writes. Raise ReleaseError with its message when it fails."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"`git {' '.join(arguments)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


if __name__ == "__main__":
    main()
