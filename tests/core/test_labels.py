"""Rules of titles and tags, changes of them, and the search for their words."""

from datetime import UTC, datetime

import pytest

from loopkit.core.ids import fingerprint
from loopkit.core.labels.label_change import KEEP, label_change
from loopkit.core.labels.label_text import checked_tags, checked_title, computed_title, tag_faults, title_faults
from loopkit.core.labels.words import Words
from loopkit.core.run import NewRun, Run, RunStatus
from loopkit.errors import UnusableOption


@pytest.mark.parametrize("title", ["a", " a ", "x" * 200, f" {'x' * 200}\n", "Öl für 2 %", "日本"])
def test_a_title_is_trimmed(title: str) -> None:
    """1 to 200 characters between white space."""
    assert title_faults(title) == []
    assert checked_title(title) == title.strip()


@pytest.mark.parametrize("title", ["", "  ", "x" * 201, "a\nb", "a\0b", "\ud800", "a\x1b[31m", "a\u202eb", 1, None, []])
def test_other_titles_are_refused(title: object) -> None:
    """Nothing that is too long, spans lines, or moves a cursor is a title."""
    assert [fault.pointer for fault in title_faults(title)] == ["/title"]
    with pytest.raises(UnusableOption, match=r"^the title must"):
        checked_title(title)


def test_tags_are_trimmed_sorted_and_counted_once() -> None:
    """Doubles count once, also towards the limit."""
    tags = [f"t{number:02}" for number in range(20)]
    assert checked_tags([*tags[::-1], " t00 ", "t19"]) == tuple(tags)
    assert checked_tags(["x" * 50]) == ("x" * 50,)
    assert checked_tags(()) == ()


@pytest.mark.parametrize(
    ("tags", "pointers"),
    [
        (["a", "", "b", "x" * 51, "c\nd", 7], ["/tags/1", "/tags/3", "/tags/4", "/tags/5"]),
        ([f"t{number}" for number in range(21)], ["/tags"]),
        ("urgent", ["/tags"]),
        (None, ["/tags"]),
        ({"a": 1}, ["/tags"]),
    ],
)
def test_each_fault_of_tags_has_its_place(tags: object, pointers: list[str]) -> None:
    """A pointer names the tag, or the list."""
    assert [fault.pointer for fault in tag_faults(tags)] == pointers
    with pytest.raises(UnusableOption, match="^tag 2 must" if "/1" in pointers[0] else "^the tags must"):
        checked_tags(tags)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("a\n\tb  c", "a b c"),
        ("x" * 300, "x" * 200),
        ("a\0\x1bb\u202e", "ab"),
        ("x" * 199 + " y", "x" * 199),
        *((nothing, None) for nothing in ("", " \n", "\0", None, 7, ["a"])),
    ],
)
def test_a_computed_title_is_made_to_fit(text: object, title: str | None) -> None:
    """One line, cut; nothing usable gives none."""
    assert computed_title(text) == title
    assert title is None or checked_title(title) == title


def test_a_change_names_what_changes() -> None:
    """Labels that are not named stay."""
    run = Run(
        id="run_1",
        agent_name="a",
        cycle_id="c",
        status=RunStatus.QUEUED,
        max_attempts=1,
        pass_threshold=0.5,
        inputs={},
        created_at=datetime(2031, 1, 1, tzinfo=UTC),
        title="Old",
        tags=("a", "b"),
    )
    assert label_change().applied(run).tags == ("a", "b")
    assert label_change(title=None, tags=KEEP).applied(run).title is None
    both = label_change(title=" New ", added=["a", "c"], removed=["a", "b"]).applied(run)
    assert (both.title, both.tags) == ("New", ("a", "c"))
    crowded = label_change(added=[f"t{number}" for number in range(19)])
    with pytest.raises(UnusableOption, match="run run_1 would have 21 tags"):
        crowded.applied(run)


def test_a_row_of_another_program_with_too_many_tags_can_lose_some() -> None:
    """A run that has too many tags may keep fewer of them, and get no more."""
    tags = tuple(f"t{number:02}" for number in range(30))
    run = Run(
        id="run_1",
        agent_name="a",
        cycle_id="c",
        status=RunStatus.QUEUED,
        max_attempts=1,
        pass_threshold=0.5,
        inputs={},
        created_at=datetime(2031, 1, 1, tzinfo=UTC),
        tags=tags,
    )
    assert label_change(title="New").applied(run).tags == tags
    assert label_change(removed=["t00"]).applied(run).tags == tags[1:]
    with pytest.raises(UnusableOption):
        label_change(added=["new"], removed=["t00"]).applied(run)


def test_labels_are_part_of_a_request_but_not_of_a_retry() -> None:
    """The same key with other labels is another request; a retry is the same, whatever its run is called by then."""
    plain = NewRun(agent_name="a", inputs={})
    assert fingerprint(plain) != fingerprint(NewRun(agent_name="a", inputs={}, title="T"))
    assert fingerprint(plain) != fingerprint(NewRun(agent_name="a", inputs={}, tags=("t",)))
    retries = [NewRun(agent_name="a", inputs={}, retry_of="run_1", title=title) for title in (None, "T")]
    assert fingerprint(retries[0]) == fingerprint(retries[1])


def test_words_begin_words() -> None:
    """Upper and lower case are the same, and the order of the words does not matter."""
    words = Words("STRASSE fr")
    assert words.is_in("Frühling in der Hauptstraße") is False
    assert words.is_in("Frühling in der Straße 7")
    assert words.is_in_any(["nothing", "strasse, frei"])
    assert not Words("")
    assert not Words("!?").is_in("!?")
