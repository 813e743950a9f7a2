"""Programs that only the system's package manager has: tests ask for them here and skip by name without them."""

from __future__ import annotations

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
"""How the reason of such a skip begins; the summary at the end of the tests looks for it."""


def is_ci() -> bool:
    """Whether a skipped test counts as a failed one."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def find_tool(program: str) -> Path | None:
    """The program's path, also from the folders that only root has on its path."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    found = shutil.which(program, path=path)
    return Path(found) if found else None


def require_tool(program: str, why: str) -> Path:
    """Give the program's path, or skip the test that asks (in CI: fail it).

    Args:
        program: a key of ``PACKAGES``.
        why: what the test needs it for, a few words for the summary.
    """
    package = PACKAGES[program]
    return find_tool(program) or skip_or_fail(f"{MISSING} {program} (apt-get install {package}): {why}")


def require_root(why: str) -> None:
    """Skip the test that asks unless it runs as root (in CI: fail it)."""
    if os.geteuid() != 0:
        skip_or_fail(f"{MISSING} root (run as root): {why}")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test that asks; in CI nothing is skipped, so fail it there."""
    if is_ci():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
