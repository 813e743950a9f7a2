"""Budget as the checker counts it: from the ledger alone, without the sums of the row."""

from collections.abc import Iterable

from loopkit.core.policy import Policy
from tests.model.policies.world import NANOS, TOKENS, Call


def is_spent(policy: Policy, calls: Iterable[Call], seconds: int) -> bool:
    """Return whether a budget is spent; a call without an answer spends nothing."""
    answered = [call for call in calls if call.answered]
    limits = policy.budget
    if limits.tokens is not None and len(answered) * TOKENS >= limits.tokens:
        return True
    if limits.seconds is not None and seconds >= limits.seconds:
        return True
    priced = [call for call in answered if call.priced]
    return limits.usd is not None and (priced != answered or len(priced) * NANOS >= limits.usd * 1_000_000_000)
