"""Checks and judges of a panel from attempt to attempt, as the evaluation tab shows them.

They are read from stored evaluations, which other programs write too: what is not as loopkit stores it is left out, and
names, texts and counts are bounded.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import attrs

from loopkit.core import strict_json
from loopkit_web.dashboard.markup.text_allowance import TextAllowance, cut

__all__ = ["NO_ANSWERS", "CheckAnswer", "JudgeScore", "PanelAnswers", "PanelRow", "panel_answers", "panel_rows"]

MAX_PARTS: Final = 100
"""Most checks, and most judges, of an evaluation that are read."""
MAX_SAMPLES: Final = 32
_MAX_NAME: Final = 200
_MAX_WORDS: Final = 1_000


@attrs.frozen(kw_only=True)
class CheckAnswer:
    """Answer of a check on one output."""

    name: str
    ok: bool
    words: str
    """Its feedback."""


@attrs.frozen(kw_only=True)
class JudgeScore:
    """Score of a judge for one output, or its error."""

    name: str
    score: float | None
    samples: tuple[float, ...]
    weight: float | None
    words: str
    """Its feedback, or its error."""
    has_failed: bool

    @property
    def is_shadow(self) -> bool:
        """True when its scores are not counted."""
        return self.weight == 0

    @property
    def spread(self) -> tuple[float, float] | None:
        """Lowest and highest of its samples; None for fewer than two."""
        return (min(self.samples), max(self.samples)) if len(self.samples) > 1 else None


@attrs.frozen(kw_only=True)
class PanelAnswers:
    """Answers of the checks and judges of one evaluation."""

    checks: tuple[CheckAnswer, ...] = ()
    judges: tuple[JudgeScore, ...] = ()
    raw: float | None = None
    """Score that it would be without a missed pass mark."""
    is_cut: bool = False


NO_ANSWERS: Final = PanelAnswers()

P = TypeVar("P", CheckAnswer, JudgeScore)


@attrs.frozen(kw_only=True)
class PanelRow:
    """One check or judge in all attempts that are shown."""

    name: str
    cells: tuple[CheckAnswer | JudgeScore | None, ...]
    newest: CheckAnswer | JudgeScore
    words: str
    """The newest of its feedbacks and errors."""


def panel_answers(document: Mapping[str, Any]) -> PanelAnswers:
    """Return what a stored evaluation says of checks and judges."""
    checks, judges = (_mapping(document.get(key)) for key in ("checks", "judges"))
    return PanelAnswers(
        checks=tuple(islice(_checks(checks), MAX_PARTS)),
        judges=tuple(islice(_judges(judges), MAX_PARTS)),
        raw=_share(document.get("raw")),
        is_cut=len(checks) > MAX_PARTS or len(judges) > MAX_PARTS,
    )


def panel_rows(attempts: Sequence[Sequence[P]], allowance: TextAllowance) -> tuple[PanelRow, ...]:
    """Return a row for each check, or judge, of some attempts; those of the newest attempt come first."""
    names = dict.fromkeys(part.name for parts in reversed(attempts) for part in parts)
    return tuple(_row(name, attempts, allowance) for name in islice(names, MAX_PARTS))


def _row(name: str, attempts: Sequence[Sequence[P]], allowance: TextAllowance) -> PanelRow:
    cells = [next((part for part in parts if part.name == name), None) for parts in attempts]
    newest_first = [cell for cell in reversed(cells) if cell is not None]
    words = next((cell.words for cell in newest_first if cell.words), "")
    return PanelRow(name=name, cells=tuple(cells), newest=newest_first[0], words=allowance.take(words))


def _checks(value: Mapping[str, Any]) -> Iterator[CheckAnswer]:
    for name, entry in value.items():
        ok = _mapping(entry).get("ok")
        if isinstance(ok, bool):
            yield CheckAnswer(name=cut(str(name), _MAX_NAME), ok=ok, words=_words(_mapping(entry).get("feedback")))


def _judges(value: Mapping[str, Any]) -> Iterator[JudgeScore]:
    for name, entry in value.items():
        document = _mapping(entry)
        score, error = _share(document.get("score")), document.get("error")
        samples = document.get("samples")
        if not document or (score is None and not isinstance(error, str)):
            continue
        yield JudgeScore(
            name=cut(str(name), _MAX_NAME),
            score=score,
            samples=tuple(islice(_shares(samples if isinstance(samples, list) else ()), MAX_SAMPLES)),
            weight=strict_json.finite_number(document.get("weight")),
            words=_words(error if score is None else document.get("feedback")),
            has_failed=score is None,
        )


def _words(value: object) -> str:
    return cut(value, _MAX_WORDS) if isinstance(value, str) else ""


def _shares(values: Iterable[Any]) -> Iterator[float]:
    return (share for value in values if (share := _share(value)) is not None)


def _share(value: Any) -> float | None:
    number = strict_json.finite_number(value)
    return None if number is None else min(max(number, 0.0), 1.0)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
