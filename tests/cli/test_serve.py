"""The command serve without loopkit-web."""

import sys

import pytest

from tests.cli.conftest import Program


def test_serve_says_what_is_missing(cli: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without loopkit-web everything else works, and serve names what to install."""
    monkeypatch.setitem(sys.modules, "loopkit_web", None)
    assert "needs the package loopkit-web, which is not installed" in cli.refused(2, "serve")
    cli.good("list")
