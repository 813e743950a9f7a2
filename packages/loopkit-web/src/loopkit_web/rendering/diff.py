"""What changed between two texts: lines first, words inside changed lines only; or values by JSON path. Bounded."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Final

import attrs

__all__ = ["Hunk", "Line", "Piece", "Same", "is_too_large", "json_diff", "line_diff"]

_MAX_WORDS: Final = 20_000
_MAX_LINES: Final = 4_000
_MAX_HUNK_TOKENS: Final = 2_000
_LIKENESS: Final = 0.3
"""Below it two passages have so little in common that marking single words would only confuse."""
_JOINED: Final = 1
"""Changes with no more equal lines between them are one hunk."""
_SHOWN_SAME: Final = 300
_TOKEN: Final = re.compile(r"\w+|[^\w\s]|\s+")


@attrs.frozen
class Piece:
    """Part of a line; ``changed`` where it is not on the other side."""

    text: str
    changed: bool = False


@attrs.frozen
class Line:
    """One line of one side."""

    number: int | None
    kind: str
    """``same``, ``removed`` or ``added``."""
    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


@attrs.frozen(kw_only=True)
class Hunk:
    """One change: what stood there, and what stands there now, with a line of context on each side."""

    before: tuple[Line, ...]
    after: tuple[Line, ...]
    path: str = ""
    """Where it is in a JSON document; "" in a text."""

    @property
    def removed(self) -> str:
        return _changed(self.before, "removed")

    @property
    def added(self) -> str:
        return _changed(self.after, "added")

    @property
    def context(self) -> str:
        """What the change stands in: its path, and the unchanged words of its lines."""
        return " ".join([self.path, *(line.text for line in (*self.before, *self.after))])


@attrs.frozen(kw_only=True)
class Same:
    """Lines that are on both sides."""

    count: int
    lines: tuple[Line, ...] = ()
    """The first of them."""


Part = Hunk | Same


def _changed(lines: Sequence[Line], kind: str) -> str:
    changed = [line for line in lines if line.kind == kind]
    return "\n".join("".join(piece.text for piece in line.pieces if piece.changed) for line in changed)


def is_too_large(before: str, after: str) -> bool:
    """True where a comparison would take too long to wait for."""
    return any(text.count("\n") >= _MAX_LINES or len(text.split()) > _MAX_WORDS for text in (before, after))


def line_diff(before: str, after: str) -> list[Part]:
    """Give the changes from one text to another, and what stands between them, in order."""
    old, new = before.splitlines(), after.splitlines()
    parts: list[Part] = []
    at = 0
    for (a1, a2), (b1, b2) in _changes(old, new):
        lead = min(a1 - at, 1 if a1 and old[a1 - 1].strip() else 2)
        parts += _same(old, at, a1 - lead)
        tail = 1 if a2 < len(old) and old[a2].strip() else 0
        parts.append(_hunk(old, new, (a1, a2), (b1, b2), lead, tail))
        at = a2 + tail
    return [*parts, *_same(old, at, len(old))]


def _changes(old: Sequence[str], new: Sequence[str]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Give the ranges of lines that differ; those that almost touch are one."""
    found: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for tag, a1, a2, b1, b2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        if found and a1 - found[-1][0][1] <= _JOINED and not any(old[found[-1][0][1] : a1]):
            (first_a, _), (first_b, _) = found.pop()
            found.append(((first_a, a2), (first_b, b2)))
        else:
            found.append(((a1, a2), (b1, b2)))
    return found


def _same(old: Sequence[str], start: int, end: int) -> list[Part]:
    if end <= start:
        return []
    lines = (_plain(old[index], index + 1, "same") for index in range(start, min(end, start + _SHOWN_SAME)))
    return [Same(count=end - start, lines=tuple(lines))]


def _plain(text: str, number: int | None, kind: str) -> Line:
    return Line(number, kind, (Piece(text, kind != "same"),))


def _hunk(old: Sequence[str], new: Sequence[str], a: tuple[int, int], b: tuple[int, int], lead: int, tail: int) -> Hunk:
    removed, added = _words("\n".join(old[slice(*a)]), "\n".join(new[slice(*b)]))
    before = [*_context(old, a[0] - lead, a[0]), *_lines(removed, a, "removed"), *_context(old, a[1], a[1] + tail)]
    after = [*_context(new, b[0] - lead, b[0]), *_lines(added, b, "added"), *_context(new, b[1], b[1] + tail)]
    return Hunk(before=tuple(before), after=tuple(after))


def _context(lines: Sequence[str], start: int, end: int) -> Iterator[Line]:
    for index in range(max(start, 0), min(end, len(lines))):
        yield _plain(lines[index], index + 1, "same")


def _words(before: str, after: str) -> tuple[list[Piece], list[Piece]]:
    """Give two passages in pieces, those marked that the other has not."""
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    if not old or not new or len(old) + len(new) > _MAX_HUNK_TOKENS:
        return [Piece(before, True)], [Piece(after, True)]
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < _LIKENESS:
        return [Piece(before, True)], [Piece(after, True)]
    removed: list[Piece] = []
    added: list[Piece] = []
    for tag, a1, a2, b1, b2 in matcher.get_opcodes():
        # a blank alone between two changes is part of the change
        changed = tag != "equal" or (a1 > 0 and not "".join(old[a1:a2]).strip() and a2 < len(old))
        _append(removed, "".join(old[a1:a2]), changed)
        _append(added, "".join(new[b1:b2]), changed)
    return removed, added


def _append(pieces: list[Piece], text: str, changed: bool) -> None:
    if not text:
        return
    if pieces and pieces[-1].changed == changed:
        pieces[-1] = Piece(pieces[-1].text + text, changed)
    else:
        pieces.append(Piece(text, changed))


def _lines(pieces: Sequence[Piece], span: tuple[int, int], kind: str) -> Iterator[Line]:
    """Cut pieces into the lines they came from."""
    if span[0] == span[1]:
        return
    number = span[0] + 1
    current: list[Piece] = []
    for piece in pieces:
        first, *rest = piece.text.split("\n")
        current.append(Piece(first, piece.changed))
        for text in rest:
            yield Line(number, kind, tuple(piece for piece in current if piece.text))
            number += 1
            current = [Piece(text, piece.changed)]
    yield Line(number, kind, tuple(piece for piece in current if piece.text))


# --- JSON -----------------------------------------------------------------------------------------------------------


def json_diff(before: Any, after: Any) -> list[Part]:
    """Give the values that changed between two documents, each with its path, and how many did not."""
    old, new = dict(_leaves("", before)), dict(_leaves("", after))
    parts: list[Part] = []
    same = 0
    for path in dict.fromkeys([*old, *new]):
        if path in old and path in new and old[path] == new[path]:
            same += 1
            continue
        removed, added = _words(old.get(path, ""), new.get(path, ""))
        parts.append(
            Hunk(
                path=path or "/",
                before=tuple(_lines(removed, (0, 1), "removed")) if path in old else (),
                after=tuple(_lines(added, (0, 1), "added")) if path in new else (),
            )
        )
    return [*parts, Same(count=same)] if same else parts


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(f"{path}/{key}", item)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(f"{path}/{index}", item)
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
