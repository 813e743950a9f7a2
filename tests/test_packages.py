"""What the three packages declare agrees with each other and with the pinned environment."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PROJECTS = ["loopkit", "loopkit-web", "loopkit-cli"]


def project(name: str) -> dict[str, Any]:
    declared: dict[str, Any] = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())["project"]
    return declared


def name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def test_the_packages_share_one_version() -> None:
    """They are released together."""
    assert len({project(name)["version"] for name in PROJECTS}) == 1


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
        wanted += declared["dependencies"]
        wanted += [line for lines in declared.get("optional-dependencies", {}).values() for line in lines]
    assert {name_of(requirement) for requirement in wanted} - set(PROJECTS) <= pinned


def test_the_pinned_environment_names_no_registry() -> None:
    """Where packages come from is each machine's own setting."""
    assert "://" not in (ROOT / "requirements-dev.txt").read_text()
