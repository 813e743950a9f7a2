"""Programs from the system's package manager. A test that lacks one is skipped, and the reason names it."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

PACKAGES = {
    "chromium": "chromium",
    "strace": "strace",
    "pgbouncer": "pgbouncer",
    "ip": "iproute2",
    "nft": "nftables",
    "ps": "procps",
    "faketime": "faketime",
}
"""Program -> the Debian package that holds it. ``make test`` installs them for root (tools/system.sh)."""

MISSING = "missing tool"
"""Beginning of the reason of such a skip; the summary at the end of the tests searches for it."""


def is_ci() -> bool:
    """Return whether a skipped test counts as failed."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def find_tool(program: str) -> Path | None:
    """Return the program's path, also from folders that are only on root's path."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    found = shutil.which(program, path=path)
    return Path(found) if found else None


def require_tool(program: str, why: str) -> Path:
    """Return the program's path, or skip the calling test (in CI: fail it).

    Args:
        program: a key of ``PACKAGES``.
        why: the test's use of it, in a few words for the summary.
    """
    package = PACKAGES[program]
    return find_tool(program) or skip_or_fail(f"{MISSING} {program} (apt-get install {package}): {why}")


def require_root(why: str) -> None:
    """Skip the calling test unless it runs as root (in CI: fail it)."""
    if os.geteuid() != 0:
        skip_or_fail(f"{MISSING} root (run as root): {why}")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the calling test; in CI fail it."""
    if is_ci():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
