"""The two lists of system tools agree, and a test that lacks a tool names it."""

import re
from pathlib import Path

import pytest

from tests import tool_helpers

ROOT = Path(__file__).parent.parent


def test_make_installs_what_tests_ask_for() -> None:
    """``tools/system.sh`` names the same programs and packages as ``tests/tool_helpers.py``."""
    listed = re.search(r'TOOLS="\n(.*?)"', (ROOT / "tools/system.sh").read_text(), re.DOTALL)
    assert listed
    assert dict(line.split(":") for line in listed[1].split()) == tool_helpers.PACKAGES


def test_a_missing_tool_skips_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside CI the reason of the skip holds the tool and what to install."""
    monkeypatch.setattr(tool_helpers, "find_tool", lambda _program: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"missing tool nft \(apt-get install nftables\): to lose packets"):
        tool_helpers.require_tool("nft", "to lose packets")


def test_a_missing_tool_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI the same is a failure."""
    monkeypatch.setattr(tool_helpers, "find_tool", lambda _program: None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="missing tool nft"):
        tool_helpers.require_tool("nft", "to lose packets")
