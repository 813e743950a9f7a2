"""The standard loop, the same for everything that is measured.

1 KB of inputs; produce 2 KB, evaluate 0.5 with 200 B of feedback, revise 2 KB, evaluate 0.9: passed. The stages do
nothing but return text that does not compress; every boundary is durable.
"""

import base64
import random
from typing import Any, Final

NAME: Final = "standard"
THRESHOLD: Final = 0.8
SCORES: Final = {1: 0.5, 2: 0.9}

_CHANCE: Final = random.Random(1)


def text(size: int) -> str:
    """Return ``size`` characters that do not compress by much."""
    return base64.b64encode(_CHANCE.randbytes(size)).decode()[:size]


INPUTS: Final = {"topic": text(1000)}
OUTPUTS: Final = [text(2000) for _ in range(64)]
FEEDBACK: Final = [text(200) for _ in range(64)]


def output(number: int) -> str:
    """Return one of the outputs."""
    return OUTPUTS[number % len(OUTPUTS)]


def evaluation(attempt: int) -> dict[str, Any]:
    """Return the evaluation of an attempt."""
    return {"score": SCORES[attempt], "feedback": FEEDBACK[attempt]}
