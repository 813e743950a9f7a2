"""Differences between two texts or two JSON documents. Bounded.

Texts are compared by lines, and by words inside changed lines only; JSON documents value by value, each with its path.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import Any, Final

import attrs

from loopkit_web.dashboard.markup.opcodes import StepAllowance, opcodes, similarity
from loopkit_web.dashboard.markup.text_allowance import cut

__all__ = ["Hunk", "Line", "LineKind", "Part", "Piece", "Same", "is_too_large", "json_diff", "line_diff"]

_MAX_WORDS: Final = 20_000
_MAX_LINES: Final = 4_000
_MAX_CHARS: Final = 200_000
_MAX_VALUES: Final = 5_000
_MAX_HUNK_TOKENS: Final = 2_000
_MAX_HUNK_CHARS: Final = 20_000
_MAX_PATH: Final = 200
_MIN_RATIO: Final = 0.3
"""Below this similarity marks on single words would only confuse."""
_MAX_GAP: Final = 1
"""Changes with at most this many lines between them, all of them empty, are one hunk."""
_MAX_SAME_LINES: Final = 300
_TOKEN: Final = re.compile(r"\w+|[^\w\s]|\s+")

_Range = tuple[int, int]
"""Indices of the first line and of the line after the last."""


class LineKind(StrEnum):
    """Kinds of lines; they are CSS classes."""

    SAME = "same"
    REMOVED = "removed"
    ADDED = "added"


@attrs.frozen
class Piece:
    """Part of a line."""

    text: str
    changed: bool = False
    """True for text that is not on the other side."""


@attrs.frozen
class Line:
    """One line of one side."""

    number: int | None
    kind: LineKind
    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


@attrs.frozen(kw_only=True)
class Hunk:
    """One change: the lines before and after it, with up to one line of context on each side."""

    before: tuple[Line, ...]
    after: tuple[Line, ...]
    path: str = ""
    """Path in a JSON document; "" in a text."""

    @property
    def removed(self) -> str:
        """Removed words, without the unchanged ones of the same lines."""
        return _changed_text(self.before, LineKind.REMOVED)

    @property
    def added(self) -> str:
        """Added words, without the unchanged ones of the same lines."""
        return _changed_text(self.after, LineKind.ADDED)

    @property
    def context(self) -> str:
        """Path and all lines, changed and unchanged."""
        return " ".join([self.path, *(line.text for line in (*self.before, *self.after))])


@attrs.frozen(kw_only=True)
class Same:
    """Lines, or values, that are the same on both sides."""

    count: int
    lines: tuple[Line, ...] = ()
    """The first 300 of them; empty for JSON."""


Part = Hunk | Same


def _changed_text(lines: Sequence[Line], kind: LineKind) -> str:
    changed = [line for line in lines if line.kind is kind]
    return "\n".join("".join(piece.text for piece in line.pieces if piece.changed) for line in changed)


def is_too_large(before: str, after: str) -> bool:
    """Return whether one of the texts is too long: 4,000 lines, or more than 20,000 words or 200,000 characters."""
    return any(
        len(text) > _MAX_CHARS
        or text.count("\n") >= _MAX_LINES
        or len(text.split()) > _MAX_WORDS
        or len(text.splitlines()) > _MAX_LINES
        for text in (before, after)
    )


def line_diff(before: str, after: str) -> list[Part]:
    """Return the changes from one text to another and the unchanged lines between them, in order.

    Texts that take too many steps to compare closely have larger changes, and marks on fewer words.
    """
    steps = StepAllowance()
    old, new = before.splitlines(), after.splitlines()
    parts: list[Part] = []
    position = 0
    for (a1, a2), (b1, b2) in _changed_ranges(old, new, steps):
        lead = min(a1 - position, 1 if a1 and old[a1 - 1].strip() else 2)
        parts += _same(old, position, a1 - lead)
        tail = 1 if a2 < len(old) and old[a2].strip() else 0
        parts.append(_hunk(old, new, (a1, a2), (b1, b2), lead, tail, steps))
        position = a2 + tail
    return [*parts, *_same(old, position, len(old))]


def _changed_ranges(old: Sequence[str], new: Sequence[str], steps: StepAllowance) -> list[tuple[_Range, _Range]]:
    """Return the ranges of lines that differ, old and new; those that almost touch are joined."""
    ranges: list[tuple[_Range, _Range]] = []
    for is_equal, a1, a2, b1, b2 in opcodes(old, new, steps):
        if is_equal:
            continue
        if ranges and a1 - ranges[-1][0][1] <= _MAX_GAP and not any(old[ranges[-1][0][1] : a1]):
            (first_a, _), (first_b, _) = ranges.pop()
            ranges.append(((first_a, a2), (first_b, b2)))
        else:
            ranges.append(((a1, a2), (b1, b2)))
    return ranges


def _same(old: Sequence[str], start: int, end: int) -> list[Part]:
    if end <= start:
        return []
    return [Same(count=end - start, lines=tuple(_unchanged(old, start, min(end, start + _MAX_SAME_LINES))))]


def _unchanged(lines: Sequence[str], start: int, end: int) -> Iterator[Line]:
    for index in range(max(start, 0), min(end, len(lines))):
        yield Line(index + 1, LineKind.SAME, (Piece(lines[index]),))


def _hunk(
    old: Sequence[str], new: Sequence[str], a: _Range, b: _Range, lead: int, tail: int, steps: StepAllowance
) -> Hunk:
    removed, added = _word_diff("\n".join(old[slice(*a)]), "\n".join(new[slice(*b)]), steps)
    return Hunk(
        before=(
            *_unchanged(old, a[0] - lead, a[0]),
            *_split_lines(removed, a, LineKind.REMOVED),
            *_unchanged(old, a[1], a[1] + tail),
        ),
        after=(
            *_unchanged(new, b[0] - lead, b[0]),
            *_split_lines(added, b, LineKind.ADDED),
            *_unchanged(new, b[1], b[1] + tail),
        ),
    )


def _word_diff(before: str, after: str, steps: StepAllowance) -> tuple[list[Piece], list[Piece]]:
    """Return two passages in pieces, with those marked that the other passage lacks."""
    if len(before) + len(after) > _MAX_HUNK_CHARS:
        return [Piece(before, True)], [Piece(after, True)]
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    if not old or not new or len(old) + len(new) > _MAX_HUNK_TOKENS:
        return [Piece(before, True)], [Piece(after, True)]
    codes = opcodes(old, new, steps)
    if similarity(codes, len(old) + len(new)) < _MIN_RATIO:
        return [Piece(before, True)], [Piece(after, True)]
    removed: list[Piece] = []
    added: list[Piece] = []
    for is_equal, a1, a2, b1, b2 in codes:
        # white space alone between two changes is part of the change
        changed = not is_equal or (a1 > 0 and not "".join(old[a1:a2]).strip() and a2 < len(old))
        _append(removed, "".join(old[a1:a2]), changed)
        _append(added, "".join(new[b1:b2]), changed)
    return removed, added


def _append(pieces: list[Piece], text: str, changed: bool) -> None:
    """Add a piece; joined with the last one where both are changed, or both are not."""
    if not text:
        return
    if pieces and pieces[-1].changed == changed:
        pieces[-1] = Piece(pieces[-1].text + text, changed)
    else:
        pieces.append(Piece(text, changed))


def _split_lines(pieces: Sequence[Piece], lines: _Range, kind: LineKind) -> Iterator[Line]:
    """Split pieces into the lines that they came from."""
    if lines[0] == lines[1]:
        return
    number = lines[0] + 1
    current: list[Piece] = []
    for piece in pieces:
        first, *rest = piece.text.split("\n")
        current.append(Piece(first, piece.changed))
        for text in rest:
            yield Line(number, kind, tuple(piece for piece in current if piece.text))
            number += 1
            current = [Piece(text, piece.changed)]
    yield Line(number, kind, tuple(piece for piece in current if piece.text))


def json_diff(before: Any, after: Any) -> list[Part] | None:
    """Return the values that differ between two documents, each with its path, and the number of the others.

    None if a document has more than 5,000 values.
    """
    steps = StepAllowance()
    old, new = (dict(islice(_leaves((), document), _MAX_VALUES + 1)) for document in (before, after))
    if max(len(old), len(new)) > _MAX_VALUES:
        return None
    parts: list[Part] = []
    same = 0
    for path in dict.fromkeys([*old, *new]):
        if path in old and path in new and old[path] == new[path]:
            same += 1
            continue
        removed, added = _word_diff(old.get(path, ""), new.get(path, ""), steps)
        parts.append(
            Hunk(
                path=cut("/" + "/".join(cut(name, _MAX_PATH) for name in path), _MAX_PATH),
                before=tuple(_split_lines(removed, (0, 1), LineKind.REMOVED)) if path in old else (),
                after=tuple(_split_lines(added, (0, 1), LineKind.ADDED)) if path in new else (),
            )
        )
    return [*parts, Same(count=same)] if same else parts


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves((*path, key), item)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves((*path, str(index)), item)
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
