"""Differences between two sequences, within a number of steps.

:class:`difflib.SequenceMatcher` finds differences that people find natural, but needs up to the cube of the length: two
documents of 800 rewritten paragraphs, which have only their blank lines in common, take minutes. Its search for one
longest match costs a step for each element, and for each pair of equal elements, which can be counted before. So here
each search is made only while there are steps left; where there are not, the sequences are split at the elements that
occur once in both of them ("patience diff"), and what is between two of those is taken as replaced:

    a b x y c     x and y occur once in both: they are kept, and "a b" and "c" are compared with
    b a x y       "b a" and nothing
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import accumulate

import attrs

__all__ = ["Opcode", "StepAllowance", "opcodes", "similarity"]

Opcode = tuple[bool, int, int, int, int]
"""A range, with whether it is equal in both sequences and its ends: ``a[a1:a2]`` and ``b[b1:b2]``."""
_Block = tuple[int, int, int]
"""Equal elements: the index of the first in both sequences, and their number."""


@attrs.define
class StepAllowance:
    """Steps that comparisons may still take; a million takes about 0.2 s."""

    left: int = 1_000_000


def opcodes(a: Sequence[Hashable], b: Sequence[Hashable], steps: StepAllowance) -> list[Opcode]:
    """Return the ranges that are equal and those that differ, in order. At most ``steps`` are taken, and subtracted."""
    result: list[Opcode] = []
    end_a = end_b = 0
    for start_a, start_b, size in [*_joined(sorted(_blocks(a, b, steps))), (len(a), len(b), 0)]:
        if end_a < start_a or end_b < start_b:
            result.append((False, end_a, start_a, end_b, start_b))
        end_a, end_b = start_a + size, start_b + size
        if size:
            result.append((True, start_a, end_a, start_b, end_b))
    return result


def similarity(codes: Sequence[Opcode], length: int) -> float:
    """Return the share of elements that are equal, 0.0..1.0.

    Args:
        codes: see :func:`opcodes`.
        length: elements of both sequences together.
    """
    equal = sum(a2 - a1 for is_equal, a1, a2, _, _ in codes if is_equal)
    return 2 * equal / length if length else 1.0


def _joined(blocks: Sequence[_Block]) -> Iterator[_Block]:
    """Yield the blocks with those joined that touch each other in both sequences."""
    pending: _Block | None = None
    for block in blocks:
        if pending and (pending[0] + pending[2], pending[1] + pending[2]) == block[:2]:
            pending = (pending[0], pending[1], pending[2] + block[2])
        else:
            if pending:
                yield pending
            pending = block
    if pending:
        yield pending


def _blocks(a: Sequence[Hashable], b: Sequence[Hashable], steps: StepAllowance) -> Iterator[_Block]:
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    pairs: dict[Hashable, list[int]] = matcher.b2j  # type: ignore[attr-defined]  # not in the stubs
    costs = [0, *accumulate(1 + len(pairs.get(element, ())) for element in a)]
    ranges = [(0, len(a), 0, len(b))]
    while ranges:
        a1, a2, b1, b2 = ranges.pop()
        if a1 >= a2 or b1 >= b2:
            continue
        cost = costs[a2] - costs[a1]
        if cost <= steps.left:
            steps.left -= cost
            match = matcher.find_longest_match(a1, a2, b1, b2)
            found = [(match.a, match.b, match.size)] if match.size else []
        else:
            found = list(_ends(a, b, a1, a2, b1, b2)) or _anchors(a, b, a1, a2, b1, b2, steps)
        yield from found
        if found:
            ranges += _between(found, a1, a2, b1, b2)


def _between(blocks: Sequence[_Block], a1: int, a2: int, b1: int, b2: int) -> Iterator[tuple[int, int, int, int]]:
    for start_a, start_b, size in [*blocks, (a2, b2, 0)]:
        yield a1, start_a, b1, start_b
        a1, b1 = start_a + size, start_b + size


def _ends(a: Sequence[Hashable], b: Sequence[Hashable], a1: int, a2: int, b1: int, b2: int) -> Iterator[_Block]:
    """Yield what two ranges have in common at their beginning and at their end."""
    most = min(a2 - a1, b2 - b1)
    first = next((n for n in range(most) if a[a1 + n] != b[b1 + n]), most)
    last = next((n for n in range(most - first) if a[a2 - n - 1] != b[b2 - n - 1]), most - first)
    if first:
        yield a1, b1, first
    if last:
        yield a2 - last, b2 - last, last


def _anchors(
    a: Sequence[Hashable], b: Sequence[Hashable], a1: int, a2: int, b1: int, b2: int, steps: StepAllowance
) -> list[_Block]:
    """Return the longest chain of elements that occur once in both ranges, in the order of both."""
    size = a2 - a1 + b2 - b1
    if size > steps.left:
        return []
    steps.left -= size
    in_a, in_b = Counter(a[a1:a2]), Counter(b[b1:b2])
    places = {b[j]: j for j in range(b1, b2) if in_b[b[j]] == 1}
    pairs = [(i, places[a[i]]) for i in range(a1, a2) if in_a[a[i]] == 1 and a[i] in places]
    return [(i, j, 1) for i, j in _longest_rising(pairs)]


def _longest_rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest part of the pairs, which rise in the first number, that rises in the second one too."""
    tails: list[int] = []
    """Lowest second number that ends a chain of each length."""
    ends: list[int] = []
    """Index of the pair that ends it."""
    before: list[int] = []
    for index, (_, second) in enumerate(pairs):
        length = bisect_left(tails, second)
        before.append(ends[length - 1] if length else -1)
        tails[length : length + 1] = [second]
        ends[length : length + 1] = [index]
    chain: list[tuple[int, int]] = []
    index = ends[-1] if ends else -1
    while index >= 0:
        chain.append(pairs[index])
        index = before[index]
    return chain[::-1]
