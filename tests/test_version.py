"""``loopkit.__version__``."""

import subprocess
import sys
import tomllib
from pathlib import Path

import loopkit

ROOT = Path(__file__).parent.parent

WITHOUT_METADATA = """
import importlib.metadata

def version(name):
    raise importlib.metadata.PackageNotFoundError(name)

importlib.metadata.version = version
import loopkit, loopkit_web
print(loopkit.__version__)
"""


def test_the_version_is_that_of_the_package() -> None:
    """It is what the package's metadata says, and ``dir`` lists it."""
    declared = tomllib.loads((ROOT / "packages/loopkit/pyproject.toml").read_text())["project"]["version"]
    assert loopkit.__version__ == declared
    assert "__version__" in dir(loopkit)


def test_a_program_without_metadata_has_an_unknown_version() -> None:
    """A frozen program imports loopkit and its pages like any other; the version is still a valid one."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_METADATA], capture_output=True, text=True, check=True)
    assert done.stdout == "0+unknown\n"
