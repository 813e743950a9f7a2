"""Verdicts of checks and judges, stored as they come, so that after a crash nobody is asked again for that output."""

from collections.abc import Mapping
from typing import Any

import attrs

from loopkit.core.values import TextEnum, value

__all__ = ["Verdict", "VerdictKind"]


class VerdictKind(TextEnum):
    """Kind of the giver of a verdict."""

    CHECK = "check"
    JUDGE = "judge"


@value(kw_only=True)
class Verdict:
    """Verdict of a check, or of one sample of a judge, on the output of an attempt.

    ``attempt``, ``kind``, ``name``, ``sample`` and ``made_by`` together name it: a run has one verdict with them.
    """

    attempt: int
    kind: VerdictKind
    name: str
    """Name of the check or judge."""
    sample: int = 1
    """Number of the sample, from 1."""
    made_by: str
    """Digest of what decides the verdict: kind, callable or text of the prompt, model, criteria."""
    score: float
    """0.0..1.0; of a check 1.0 where it holds, else 0.0."""
    feedback: str = ""
    detail: Mapping[str, Any] = attrs.field(factory=dict)
    """Other keys of the verdict, such as ``criteria``."""
