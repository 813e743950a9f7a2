"""The declarations of the three packages agree with each other and with the pinned environment."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECTS = ["loopkit", "loopkit-web", "loopkit-cli"]


def project(name: str) -> dict[str, Any]:
    declared: dict[str, Any] = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())["project"]
    return declared


def requirements(declared: dict[str, Any]) -> list[str]:
    """Everything that a package asks for, its extras included."""
    optional = declared.get("optional-dependencies", {}).values()
    return [*declared["dependencies"], *(line for lines in optional for line in lines)]


def name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def test_the_packages_share_one_version() -> None:
    """They are released together."""
    assert len({project(name)["version"] for name in PROJECTS}) == 1


def test_the_packages_ask_for_each_other_by_this_very_version() -> None:
    """They use each other's inner modules, which may change with any release."""
    asked = {
        (name, requirement.name): str(requirement.specifier)
        for name in PROJECTS
        for requirement in map(Requirement, requirements(project(name)))
        if requirement.name in PROJECTS
    }
    exact = f"=={project('loopkit')['version']}"
    pairs = [("loopkit-web", "loopkit"), ("loopkit-cli", "loopkit"), ("loopkit-cli", "loopkit-web")]
    assert asked == dict.fromkeys(pairs, exact)


@pytest.mark.parametrize("name", PROJECTS)
def test_each_package_carries_the_licence(name: str) -> None:
    """An archive of one package holds the licence of all."""
    assert (ROOT / "packages" / name / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_pinned_environment_holds_every_dependency() -> None:
    """``make lock`` was run after the last change to a list of dependencies."""
    pinned = {name_of(line) for line in (ROOT / "requirements-dev.txt").read_text().splitlines() if line[:1].isalpha()}
    root = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = list(root["dependency-groups"]["dev"])
    for declared in map(project, PROJECTS):
        wanted += requirements(declared)
    assert {name_of(requirement) for requirement in wanted} - set(PROJECTS) <= pinned


def test_the_pinned_environment_names_no_registry() -> None:
    """Where packages come from is each machine's own setting."""
    assert "://" not in (ROOT / "requirements-dev.txt").read_text()


def supported(declared: dict[str, Any]) -> list[str]:
    """The Python versions that a package's classifiers name, lowest first."""
    found = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in declared["classifiers"]]
    return sorted((match[1] for match in found if match), key=Version)


def test_the_packages_support_the_same_pythons() -> None:
    """From ``requires-python`` on, without a gap."""
    for declared in map(project, PROJECTS):
        versions = supported(declared)
        minors = [Version(version).minor for version in versions]
        assert declared["requires-python"] == f">={versions[0]}"
        assert minors == list(range(minors[0], minors[-1] + 1))
        assert versions == supported(project("loopkit"))


def test_the_workflow_runs_the_lowest_and_the_highest_python() -> None:
    """It runs ``.ci/run`` on both, may only read, and takes each action by the hash of its commit."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    versions = supported(project("loopkit"))
    assert job["strategy"]["matrix"]["python"] == [versions[0], versions[-1]]
    assert workflow["permissions"] == {"contents": "read"}
    assert "permissions" not in job
    actions = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action) for action in actions)
    assert ".ci/run" in job["steps"][-1]["run"]


@pytest.mark.parametrize("name", PROJECTS)
def test_each_dependency_has_a_lowest_version(name: str) -> None:
    """``make lowest`` installs it; without a bound the resolver would take the first release ever made."""
    for requirement in map(Requirement, requirements(project(name))):
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators & {">=", "=="}, f"{name}: {requirement} has no lowest version"
