"""Exploration of a protocol with a policy."""

from tests.model.explorer import Explorer, Found, Model
from tests.model.policies.invariants import broken_by, broken_in
from tests.model.policies.protocol import PolicyProtocol
from tests.model.policies.world import tidied


def explore(protocol: PolicyProtocol, *, symmetric: bool = False) -> Found:
    """Explore a protocol; with ``symmetric``, count states that differ only in the runners' names once."""
    is_symmetric = symmetric and protocol.symmetric
    model = Model(
        start=protocol.start(),
        steps=protocol.steps,
        tidy=lambda world: tidied(world, symmetric=is_symmetric),
        has_ended=lambda world: world.row.status.ended,
        broken_in=broken_in,
        broken_by=broken_by,
    )
    return Explorer(model).explore()
