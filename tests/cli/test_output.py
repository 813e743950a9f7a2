"""Nothing that comes out of a stage or a row may steer a terminal."""

import io
import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit_cli import output

ANY_TEXT = st.text(st.characters(exclude_categories=()))


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal and keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")

    def isatty(self) -> bool:
        return True

    @property
    def written(self) -> str:
        self.flush()
        kept = self.buffer
        assert isinstance(kept, io.BytesIO)
        return kept.getvalue().decode()


def harmless(text: str) -> bool:
    return all(unicodedata.category(c) not in ("Cc", "Cs") and c not in "\u202e\u2066" for c in text)


@given(ANY_TEXT)
def test_a_line_is_one_line_without_controls(text: str) -> None:
    """No control character, surrogate or direction mark is left, and no end of a line."""
    line = output.clean_line(text)
    assert harmless(line)
    assert len(line.splitlines()) <= 1
    line.encode()


@given(ANY_TEXT)
def test_a_text_keeps_its_lines_and_nothing_worse(text: str) -> None:
    """Ends of lines and tabs stay; everything else that controls is gone."""
    assert harmless(output.clean_text(text).replace("\n", "").replace("\t", ""))


@given(ANY_TEXT)
def test_json_is_plain_ascii(text: str) -> None:
    """A JSON document says the same and holds no character that a terminal could act on."""
    written = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", written)
        output.write_json({"text": text})
    assert json.loads(written.getvalue()) == {"text": text}
    assert written.getvalue().isascii()
    assert harmless(written.getvalue().replace("\n", "").replace("\x7f", ""))


def test_a_terminal_gets_an_artifact_cleaned_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """An escape sequence is disarmed, and a long text ends with a word on how to get all of it."""
    terminal, beside = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", beside)
    output.write_content("\x1b]0;owned\x07title\n" + "line\n" * 500)
    assert terminal.written.startswith("]0;ownedtitle\nline\n")
    assert terminal.written.count("\n") == output.MAX_LINES
    assert "301 more lines" in beside.written


def test_a_file_gets_an_artifact_as_it_is(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Not a byte is added or taken away."""
    output.write_content("a\r\n\x1b[31mé")
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == "a\r\n\x1b[31mé".encode()


def test_a_table_is_as_wide_as_its_cells(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns line up, and hostile cells stay in theirs."""
    output.write_table(("A", "LONG"), [("1234", "x"), ("\x1b[2J5\n6", "")])
    assert capsys.readouterr().out == "A       LONG\n1234    x\n[2J5 6\n"


def test_a_table_on_a_terminal_keeps_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number stays after a cell in Hebrew or Arabic: a mark ends its direction. A file gets the text alone."""
    rows = [("\u05d0\u05d1", "12"), ("\u0627 \u202e", "3"), ("é", "4")]
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        monkeypatch.setattr(sys, "stdout", stream)
        output.write_table(("A", "B"), rows)
    assert terminal.written == "A   B\n\u05d0\u05d1\u200e  12\n\u0627 \u200e  3\né   4\n"
    assert pipe.getvalue() == terminal.written.replace("\u200e", "")
