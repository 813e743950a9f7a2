"""The combiner takes what waits together, and keeps apart and in order what touches the same."""

from collections.abc import Iterable

import attrs
from hypothesis import given
from hypothesis import strategies as st

from loopkit.stores.sql.combining import FULL, MOST, Combiner
from loopkit.stores.sql.items import Item


@attrs.define(eq=False)
class Touching(Item):
    touched: tuple[str, ...] = ()
    brought: int = 0

    @property
    def alone(self) -> Iterable[str]:
        return self.touched

    @property
    def weight(self) -> int:
        return self.brought


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=2, unique=True), max_size=30))
def test_what_touches_the_same_is_never_together_and_keeps_its_order(touched: list[list[str]]) -> None:
    """Whatever waits, every batch touches each thing once, and each thing is touched in the order of asking."""
    combiner, asked = Combiner(), [Touching(str(n), touched=tuple(names)) for n, names in enumerate(touched)]
    for item in asked:
        combiner.add(item)
    batches = []
    while len(combiner):
        batches.append(combiner.take())
        names = [name for item in batches[-1] for name in item.alone]
        assert batches[-1]
        assert len(names) == len(set(names))
    performed = [item for batch in batches for item in batch]
    assert sorted(performed, key=asked.index) == asked
    for name in "abc":
        assert [i for i in performed if name in i.alone] == [i for i in asked if name in i.alone]


def test_a_batch_has_a_limit() -> None:
    """The write lock is not held for longer than a batch of MOST takes; the rest follows in order."""
    combiner, asked = Combiner(), [Item(str(n)) for n in range(MOST + 3)]
    for item in asked:
        combiner.add(item)
    assert combiner.take() == asked[:MOST]
    assert combiner.take() == asked[MOST:]


def test_a_batch_that_is_heavy_takes_no_more() -> None:
    """What waits is written within the database's time limits, however large; the rest follows in order."""
    combiner = Combiner()
    asked = [Touching(str(n), brought=brought) for n, brought in enumerate([FULL - 1, FULL, 2 * FULL, 0])]
    for item in asked:
        combiner.add(item)
    assert [combiner.take() for _ in range(3)] == [asked[:2], asked[2:3], asked[3:]]


def test_an_item_is_withdrawn_only_while_it_waits() -> None:
    """Whoever leaves early takes the item back; what is in a batch is not stopped any more."""
    combiner, first, second = Combiner(), Item("1"), Item("2")
    combiner.add(first)
    combiner.take()
    combiner.add(second)
    assert combiner.withdraw(second)
    assert not combiner.withdraw(first)
    assert combiner.take() == []
