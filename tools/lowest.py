"""List of the direct dependencies of the three packages and of their extras, one requirement a line, for `make lowest`.

The extra `testing` is left out: its packages are the tools that run the tests.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LEFT_OUT = {"testing"}


def declared() -> Iterator[str]:
    """Yield the requirements on other projects."""
    for path in sorted(ROOT.glob("packages/*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        yield from project["dependencies"]
        for name, extra in project.get("optional-dependencies", {}).items():
            if name not in LEFT_OUT:
                yield from extra


if __name__ == "__main__":
    for text in declared():
        if not Requirement(text).name.startswith("loopkit"):
            print(text)
