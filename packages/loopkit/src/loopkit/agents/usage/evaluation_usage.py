"""Usage that an evaluator reports in its evaluation, under the key ``usage``."""

from collections.abc import Mapping

from loopkit.agents.context import StageContext
from loopkit.agents.usage.reported_usage import read_usage
from loopkit.core.outcome import Evaluation

__all__ = ["book_evaluation_usage", "book_readable"]


def book_evaluation_usage(context: StageContext, evaluation: Evaluation) -> None:
    """Book what the key ``usage`` of an evaluation says: a mapping, or a list of them; it stays in the evaluation."""
    usage = evaluation.rest.get("usage")
    if usage is None:
        return
    for part in usage if isinstance(usage, list) else [usage]:
        if isinstance(part, Mapping) and part:
            book_readable(context, part, "the evaluation's usage")


def book_readable(context: StageContext, usage: object, name: str, *, usd: object = None) -> None:
    """Book usage that a program wrote; where it cannot be read, log why."""
    try:
        context.book_usage(read_usage(usage, keys={"usd": usd}))
    except ValueError as error:
        context.log(f"{name} cannot be booked: it {error}")
