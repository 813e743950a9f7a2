"""What a claim makes of a run is written into the row and read from it by one pair of functions."""

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import Text, literal, literal_column, select
from sqlalchemy.dialects import sqlite

from loopkit.core.run import RunStatus, Stage
from loopkit.stores.sql.statements.claim_fates import (
    CLAIM_EVENTS,
    ClaimFate,
    claim_events,
    decode_last_write,
    encode_fate,
    encode_last_write,
)

ENDED = {ClaimFate.CANCELLED: RunStatus.CANCELLED, ClaimFate.LOST: RunStatus.FAILED}


def stored(fate: ClaimFate) -> str:
    """Have the database compute the last write of a claim with this fate, from the conditions that lead to it."""
    stage = next((stage for stage in Stage if fate.endswith(stage)), None)
    expression = encode_fate(
        cancelled=literal(fate is ClaimFate.CANCELLED),
        lost=literal(fate is ClaimFate.LOST),
        taken_over=literal(fate.is_take_over),
        stage=literal_column("NULL", Text()) if stage is None else literal(stage.value, Text()),
    )
    statement = select(encode_last_write(literal("nonce"), expression))
    text = str(statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
    with closing(sqlite3.connect(":memory:")) as connection:
        (last_write,) = connection.execute(text).fetchone()
    assert isinstance(last_write, str)
    return last_write


@pytest.mark.parametrize("fate", ClaimFate)
def test_a_fate_is_read_as_it_was_written(fate: ClaimFate) -> None:
    """The text that the statement computes gives the nonce and the same fate."""
    assert decode_last_write(stored(fate)) == ("nonce", fate)


@pytest.mark.parametrize("last_write", [None, "", "nonce"])
def test_a_write_that_is_no_claim_has_no_fate(last_write: str | None) -> None:
    """Changes and submissions store their nonce alone, other programs nothing."""
    assert decode_last_write(last_write) == (last_write or "", None)


@pytest.mark.parametrize("fate", ClaimFate)
def test_every_fate_has_events(fate: ClaimFate) -> None:
    """A run that is held gets two events, an ended one its last; the holder's name needs no care with quotes."""
    assert fate.ended_in is ENDED.get(fate)
    assert len(CLAIM_EVENTS[fate]) == (2 if fate.ended_in is None else 1)
    metadata = [event["metadata"] for event in claim_events(fate, 'host:"1"') if event["metadata"] is not None]
    assert all("{claimed_by}" not in str(text) for text in metadata)
    if fate.ended_in is None:
        assert r'"claimedBy":"host:\"1\""' in str(metadata[0])
