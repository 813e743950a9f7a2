"""The request queue takes what waits together, and keeps apart and in order what touches the same."""

from collections.abc import Sequence

import attrs
from hypothesis import given
from hypothesis import strategies as st

from loopkit.stores.sql.writes.request_queue import FULL_SIZE, MAX_REQUESTS, RequestQueue
from loopkit.stores.sql.writes.requests import AnyRequest, WriteRequest


@attrs.define(eq=False)
class Touching(WriteRequest[None]):
    touched: tuple[str, ...] = ()
    brought: int = 0

    @property
    def exclusive_keys(self) -> Sequence[str]:
        return self.touched

    @property
    def size(self) -> int:
        return self.brought


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=2, unique=True), max_size=30))
def test_what_touches_the_same_is_never_together_and_keeps_its_order(touched: list[list[str]]) -> None:
    """Whatever waits, every batch touches each thing once, and each thing is touched in the order of asking."""
    queue = RequestQueue()
    asked: list[AnyRequest] = [Touching(str(n), touched=tuple(names)) for n, names in enumerate(touched)]
    for request in asked:
        queue.add(request)
    batches = []
    while len(queue):
        batches.append(queue.take())
        names = [name for request in batches[-1] for name in request.exclusive_keys]
        assert batches[-1]
        assert len(names) == len(set(names))
    performed = [request for batch in batches for request in batch]
    assert sorted(performed, key=asked.index) == asked
    for name in "abc":
        assert [i for i in performed if name in i.exclusive_keys] == [i for i in asked if name in i.exclusive_keys]


def test_a_batch_has_a_limit() -> None:
    """The write lock is not held for longer than a batch of MAX_REQUESTS takes; the rest follows in order."""
    queue = RequestQueue()
    asked: list[AnyRequest] = [WriteRequest(str(n)) for n in range(MAX_REQUESTS + 3)]
    for request in asked:
        queue.add(request)
    assert queue.take() == asked[:MAX_REQUESTS]
    assert queue.take() == asked[MAX_REQUESTS:]


def test_a_batch_that_is_heavy_takes_no_more() -> None:
    """What waits is written within the database's time limits, however large; the rest follows in order."""
    queue = RequestQueue()
    asked = [
        Touching(str(n), brought=brought) for n, brought in enumerate([FULL_SIZE - 1, FULL_SIZE, 2 * FULL_SIZE, 0])
    ]
    for request in asked:
        queue.add(request)
    assert [queue.take() for _ in range(3)] == [asked[:2], asked[2:3], asked[3:]]


def test_an_item_is_withdrawn_only_while_it_waits() -> None:
    """Whoever leaves early takes the item back; what is in a batch is not stopped any more."""
    queue = RequestQueue()
    first: AnyRequest = WriteRequest("1")
    second: AnyRequest = WriteRequest("2")
    queue.add(first)
    queue.take()
    queue.add(second)
    assert queue.withdraw(second)
    assert not queue.withdraw(first)
    assert queue.take() == []
