"""Store with runs in every state, written by the store's own methods under a clock that is set by hand.

``python -m tests.browser.seed_helpers [PORT]`` serves it with the dashboard, to look at the pages.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from loopkit import Agent, MemoryStore
from loopkit.core import machine
from loopkit.core.journal import EventType, NewEvent
from loopkit.core.lease import Claimant
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Produced
from loopkit.core.run import NewRun, Run
from loopkit.storage import Held, RunnerInfo

S = timedelta(seconds=1)


class Clock:
    """Clock that is set by hand, or shows the current time while ``at`` is None."""

    def __init__(self) -> None:
        self.at: datetime | None = datetime.now(UTC) - timedelta(hours=19)

    def __call__(self) -> datetime:
        return self.at or datetime.now(UTC)

    def advance(self, seconds: float) -> None:
        assert self.at is not None
        self.at += timedelta(seconds=seconds)

    def set_back(self, ago: timedelta) -> None:
        self.at = datetime.now(UTC) - ago


def _nothing(_: Any) -> str:
    return ""


TARGETS: dict[str, Any] = {
    "type": "object",
    "required": ["thesis", "region", "companies"],
    "additionalProperties": False,
    "properties": {
        "thesis": {
            "type": "string",
            "title": "Thesis",
            "minLength": 20,
            "examples": ["Who should be on the list, and why now?"],
        },
        "region": {"type": "string", "title": "Region", "enum": ["DACH", "Benelux", "Nordics", "Iberia"]},
        "companies": {"type": "integer", "title": "Companies", "minimum": 1, "maximum": 100, "default": 12},
        "since": {"type": "string", "title": "Signals since", "format": "date"},
        "leave_out": {"type": "boolean", "title": "Leave out existing customers", "default": True},
        "exclude": {"type": "array", "title": "Exclude", "items": {"type": "string", "maxLength": 80}, "maxItems": 5},
        "staff": {
            "type": "object",
            "title": "Staff",
            "required": ["least"],
            "properties": {
                "least": {"type": "integer", "title": "At least", "minimum": 1},
                "most": {"type": "integer", "title": "At most", "maximum": 10000},
            },
        },
    },
}

DESCRIPTIONS = {
    "target_builder": "Builds a target list from a thesis",
    "outreach_writer": "Writes a first mail for an account",
    "contract_summary": "Summarises a contract, clause by clause",
    "pricing_brief": "Compares list prices of competitors",
    "enrich_accounts": "Looks up what is missing of accounts",
    "release_notes": "Writes release notes from merged changes",
    "sql_reviewer": "Reviews a migration for locks and loss",
}


def agents() -> list[Agent]:
    """Return the agents that the form can start."""
    return [
        Agent(
            name=name,
            produce=_nothing,
            evaluate=_nothing,
            description=description,
            pass_threshold={"target_builder": 0.85, "enrich_accounts": 0.75}.get(name, 0.8),
            inputs=TARGETS if name == "target_builder" else {"type": "object"},
        )
        for name, description in DESCRIPTIONS.items()
    ]


LIST_1 = """# Target list: mid-market logistics

Twelve companies in DACH. Staff figures are from their own pages.

| Company | Seat | Staff | Signal |
|---|---|---:|---|
| Kestrel Freight GmbH | Hamburg | 410 | Second hub, Q3 2025 |
| Alpenspedition Moser | Innsbruck | 265 | New COO from retail |
"""

LIST_2 = """# Target list: mid-market logistics buyers in DACH

Twelve companies between 180 and 900 staff that opened or moved a warehouse since January 2025. Each number names its
source.

| Company | Seat | Staff | Signal | Source |
|---|---|---:|---|---|
| Kestrel Freight GmbH | Hamburg | 410 | Second hub, Q3 2025 | [register HRB 88214](https://example.com/hrb) |
| Alpenspedition Moser | Innsbruck | 265 | New COO from retail | [annual report p. 12](https://example.com/ar) |
| Tessin Cold Chain SA | Lugano | 190 | Reefer fleet +40 % | [press, 4 Sep 2026](https://example.com/press) |
| Rhein-Cargo Systems | Duisburg | 620 | Yard software tender | [tender 2026/118](https://example.com/t) |

## Left out, and why

- **Bremer Hafenlogistik AG**: 2,300 staff, above `max_staff`
- **Donau Direct**: insolvency filed 2 October 2026

![a map of the hubs](https://example.com/map.png)
""" + "\n".join(f"{n}. A further note on company {n}." for n in range(1, 60))

PRICES = [
    """# List prices

Prices are per host and month.

## Vendors

Three vendors are compared, all of them hosted.

## List prices

Northbeam Pro costs $29 per host, see their pricing page.
Halden starts at $0.10 per GB.

## Limits

The free tier of Northbeam ends at 50 GB a month.

## Notes

Prices change often.
""",
    """# List prices

Prices are per host and month.

## Vendors

Three vendors are compared, all of them hosted.
Each bills in another unit.

## List prices

Northbeam Pro costs $29 per host, see their pricing page of 12 November.
Halden starts at $0.10 per GB.

## Limits

The free tier of Northbeam ends at 50 GB a month.

## Notes

Prices change often, so dates are given.
""",
    """# List prices

Prices are per host and month.

## Vendors

Three vendors are compared, all of them hosted.
Each bills in another unit.

## List prices

Northbeam Pro costs $23 per host, billed yearly, see a reseller's page.
Halden starts at $0.10 per GB.

## Limits

The free tier of Northbeam ends at 100 GB a month.

## Notes

Prices change often, so dates are given.

## Reading the table

Vendors bill by host, by volume or by seat, and each model favours another kind of customer; the columns below
convert all three into a month of a team of ten.
""",
]

PRICE_EVALUATIONS = [
    (
        0.52,
        "Every price needs a dated source.",
        {"evidence": 0.40, "accuracy": 0.55, "comparability": 0.50, "brevity": 0.66},
    ),
    (
        0.65,
        "Give the yearly price of Northbeam Pro, with a dated source from the vendor. Cut the text to 700 words.",
        {
            "evidence": {
                "score": 0.62,
                "feedback": "Give the yearly price of Northbeam Pro, with a dated source from the vendor.",
                "pass_mark": 0.8,
            },
            "accuracy": {"score": 0.68, "feedback": "Northbeam's free tier is 100 GB, not 50.", "pass_mark": 0.8},
            "comparability": {"score": 0.74, "pass_mark": 0.7},
            "brevity": {"score": 0.58, "feedback": "Cut the text to 700 words.", "pass_mark": 0.7},
        },
    ),
    (
        0.61,
        "Closer on limits, but sourcing slipped while the text grew.",
        {
            "evidence": {
                "score": 0.48,
                "feedback": "Two list prices in attempt 3 come from a reseller page.",
                "pass_mark": 0.8,
            },
            "accuracy": {"score": 0.70, "feedback": "The limits are right now.", "pass_mark": 0.8},
            "comparability": {"score": 0.72, "feedback": "Fine since attempt 2.", "pass_mark": 0.7},
            "brevity": {"score": 0.55, "feedback": "Now at 1,140 words; asked for 700.", "pass_mark": 0.7},
        },
    ),
]

ERROR = (
    "evaluate: ConnectionError: the model server at models.internal:8000 refused the connection after 3 tries; "
    "the account of the team may have no access to this model"
)
FAILURE = {
    "exception": "growth.client.ConnectionError",
    "at": "score.py:41",
    "traceback": """Traceback (most recent call last):
  File "/srv/growth/score.py", line 41, in evaluate
    answer = client.ask(PROMPT.format(text=ctx.output))
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/srv/growth/client.py", line 118, in ask
    raise ConnectionError(f"the model server at {self.address} refused the connection after {tries} tries")
growth.client.ConnectionError: the model server at models.internal:8000 refused the connection after 3 tries
""",
}

FIT = {"fit": 0.82, "evidence": 0.55, "coverage": 0.88, "freshness": 0.62, "format": 0.95}


class World:
    """Store, its clock, and the steps that fill it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(now=self.clock)
        self.runs: dict[str, Run] = {}

    async def submit(self, agent: str, inputs: Mapping[str, Any], **fields: Any) -> Run:
        thresholds = {"target_builder": 0.85, "enrich_accounts": 0.75, "contract_summary": 0.9}
        new = {"pass_threshold": thresholds.get(agent, 0.8), "actor": "maria", **fields}
        [run] = await self.store.submit([NewRun(agent_name=agent, inputs=inputs, **new)])
        return run

    async def claim(self, run: Run, host: str = "atlas-1:3980") -> Held:
        self.clock.advance(1.2)
        return await self.store.claim_run(Claimant(name=host), run.id)

    async def log(self, held: Held, message: str, **metadata: Any) -> None:
        run = await self.store.get_run(held.run.id)
        event = NewEvent(
            event_type=EventType.LOG,
            stage=run.current_stage,
            attempt=run.current_attempt,
            message=message,
            metadata=metadata or None,
        )
        await self.store.record(held.lease, machine.log_change(run, [event]))

    async def produce(self, held: Held, output: str, seconds: float, *, is_json: bool = False) -> Run:
        self.clock.advance(seconds)
        run = await self.store.get_run(held.run.id)
        return await self.store.record(held.lease, machine.advance(run, Produced(output, is_json)))

    async def evaluate(self, held: Held, score: float, feedback: str, seconds: float, **rest: Any) -> Run:
        self.clock.advance(seconds)
        run = await self.store.get_run(held.run.id)
        outcome = Evaluated(Evaluation(score, feedback, rest=rest))
        return await self.store.record(held.lease, machine.advance(run, outcome))

    async def fail(self, held: Held, message: str, details: Mapping[str, Any] | None = None) -> Run:
        self.clock.advance(6)
        run = await self.store.get_run(held.run.id)
        return await self.store.record(held.lease, machine.advance(run, Errored(message, details=details)))

    async def scored_run(self, agent: str, subject: str, scores: Sequence[float], ago: timedelta, **fields: Any) -> Run:
        """Create a run with these scores that began some time ago, and return it."""
        self.clock.set_back(ago)
        run = await self.submit(agent, {"subject": subject}, **fields)
        held = await self.claim(run)
        for score in scores:
            await self.produce(held, f"# {subject}\n\nAn output worth {score}.", 70)
            await self.evaluate(held, score, "Shorter, and name the source.", 25)
        return await self.store.get_run(run.id)


async def fill(world: World) -> dict[str, str]:
    """Fill a store with runs in every state, and return the ids of one run for each, by its state."""
    ids: dict[str, str] = {}
    hour = timedelta(hours=1)
    minute = timedelta(minutes=1)
    await world.scored_run("release_notes", "loop-server 2.13.1", [0.86], 18 * hour)
    await world.scored_run("target_builder", "Water utilities above 200 staff, Iberia", [0.7, 0.89], 17 * hour)
    await world.scored_run(
        "contract_summary", "Data processing addendum, Oriel", [0.71, 0.82, 0.81, 0.92], 3 * hour, max_attempts=4
    )
    world.clock.set_back(2 * hour)
    run = await world.submit("account_researcher", {"account": "Kestrel Freight GmbH"})
    held = await world.claim(run, "atlas-4:1188")
    await world.produce(held, "# Kestrel", 6)
    ids["error"] = (await world.fail(held, ERROR, FAILURE)).id
    world.clock.set_back(hour)
    run = await world.submit("outreach_writer", {"account": "Cold open for Ferrum Tools"})
    held = await world.claim(run, "atlas-4:1188")
    await world.produce(held, "Dear Ferrum", 40)
    await world.evaluate(held, 0.44, "Too long.", 20)
    await world.store.request_cancel(run.id, actor="maria")
    await world.store.record(held.lease, machine.cancelled_change(await world.store.get_run(run.id)))
    ids["cancelled"] = run.id
    ids["passed"] = (
        await world.scored_run(
            "support_macro",
            "Refund requests after 30 days",
            [0.8, 0.93],
            48 * minute,
            max_attempts=5,
            pass_threshold=0.9,
        )
    ).id
    await world.scored_run("sql_reviewer", "Migration 0142_split_ledger", [0.88], 31 * minute)
    ids["failed"] = (await _prices(world, 34 * minute)).id
    await world.scored_run(
        "target_builder", "Industrial robotics integrators, Benelux", [0.74, 0.81, 0.91], 19 * minute
    )
    ids["cancelling"] = (await _cancelling(world)).id
    ids["stalled"] = (await _stalled(world)).id
    world.clock.set_back(18 * S)
    ids["queued"] = (await world.submit("outreach_writer", {"account": "Follow-up for Hollandia Foods"})).id
    ids["running"] = (await _running(world)).id
    world.clock.set_back(38 * S)
    run = await world.submit("release_notes", {"range": "loop-server 2.14, 63 merged changes"})
    await world.claim(run, "atlas-1:3980")
    ids["producing"] = run.id
    await _runners(world)
    world.clock.at = None
    return ids


async def _prices(world: World, ago: timedelta) -> Run:
    world.clock.set_back(ago)
    run = await world.submit(
        "pricing_brief",
        {"topic": "Competitor pricing, observability Q4"},
        actor="schedule weekly-pricing",
        title="List prices of observability vendors, compared by host, volume and seat",
        tags=("observability", "q4"),
    )
    held = await world.claim(run, "atlas-4:1188")
    for text, (score, feedback, criteria) in zip(PRICES, PRICE_EVALUATIONS, strict=True):
        await world.produce(held, text, 150)
        await world.evaluate(held, score, feedback, 30, criteria=criteria)
    return await world.store.get_run(run.id)


async def _cancelling(world: World) -> Run:
    world.clock.set_back(timedelta(minutes=4, seconds=51))
    run = await world.submit("contract_summary", {"contract": "Master agreement Brightwell, 48 pages"}, max_attempts=4)
    held = await world.claim(run, "atlas-2:4127")
    await world.produce(held, "# Summary", 80)
    await world.evaluate(held, 0.58, "Clause 9 is missing.", 40)
    await world.produce(held, "# Summary\n\nClause 9.", 60)
    world.clock.set_back(12 * S)
    await world.store.heartbeat([held.lease])
    return await world.store.request_cancel(run.id, actor="maria")


async def _stalled(world: World) -> Run:
    world.clock.set_back(timedelta(minutes=11, seconds=4))
    run = await world.submit(
        "enrich_accounts",
        {"file": "nordics-07.csv", "fields": ["website", "staff", "industry"], "sample": 20},
        actor=None,
    )
    held = await world.claim(run, "atlas-3:2210")
    await world.log(held, "Loaded 84 accounts", file="nordics-07.csv")
    world.clock.advance(220)
    await world.log(held, "84 of 84 enriched, 3 without a website")
    await world.produce(held, '{"accounts": [{"name": "Ferrum", "site": null}]}', 11, is_json=True)
    world.clock.advance(12)
    await world.log(held, "Sampling 20 accounts for a second look")
    return run


async def _running(world: World) -> Run:
    world.clock.set_back(timedelta(minutes=4, seconds=12))
    inputs = {
        "thesis": "Mid-market logistics buyers in DACH that outgrew spreadsheets",
        "region": "DACH",
        "companies": 12,
        "since": "2025-01-01",
        "exclude": ["existing customers", "Bremer Hafenlogistik"],
        "staff": {"least": 180, "most": 900},
    }
    run = await world.submit("target_builder", inputs, title="Logistics buyers in DACH", tags=("dach", "q4"))
    held = await world.claim(run, "atlas-2:4127")
    await world.log(held, "Reading the register", companies=412)
    await world.produce(held, LIST_1, 58)
    await world.log(held, "Checking 12 companies against 5 criteria")
    world.clock.advance(16)
    await world.log(held, "6 figures have no source", rows="3,4,6,7,9,11")
    criteria: dict[str, Any] = {name: {"score": score} for name, score in FIT.items()}
    criteria["evidence"]["feedback"] = "6 of 12 numbers unsourced"
    criteria["freshness"]["feedback"] = "Four signals from 2024"
    feedback = (
        "Good reach, but half the staff figures have no source, and four buying signals are from 2024. Name a source "
        "for each number; replace signals older than 18 months."
    )
    await world.evaluate(held, 0.71, feedback, 9, criteria=criteria, unsupported=[3, 4, 6, 7, 9, 11])
    await world.log(held, "Looking up 6 missing sources", tool="register_search")
    world.clock.advance(41)
    await world.log(held, "5 of 6 found; Donau Direct is insolvent, dropping it")
    await world.produce(held, LIST_2, 38)
    world.clock.advance(3)
    await world.log(held, "Checking 12 companies against 5 criteria")
    world.clock.set_back(8 * S)
    await world.store.heartbeat([held.lease])
    return run


async def _runners(world: World) -> None:
    served = {
        "atlas-2:4127": (["target_builder", "contract_summary", "support_macro"], 4, 3, 8, False),
        "atlas-1:3980": (["release_notes", "sql_reviewer", "target_builder"], 4, 1, 3, False),
        "atlas-4:1188": (["pricing_brief", "account_researcher", "outreach_writer"], 4, 1, 11, True),
        "atlas-5:0877": (["outreach_writer"], 2, 2, 80, False),
        "atlas-3:2210": (["enrich_accounts"], 2, 1, 380, False),
    }
    for number, (name, (names, slots, busy, age, draining)) in enumerate(served.items()):
        info = RunnerInfo(
            id=f"runner-{number}",
            name=name,
            version="0.1.0",
            agents=tuple(names),
            slots=slots,
            busy=busy,
            draining=draining,
        )
        world.clock.set_back(timedelta(hours=20 - number))
        await world.store.announce(info)
        world.clock.set_back(age * S)
        await world.store.announce(info)


async def serve(port: int) -> None:
    import uvicorn

    from loopkit_web import allow_all, create_app

    world = World()
    print(await fill(world))
    app = create_app(world.store, agents(), access=allow_all)
    await uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning")).serve()


if __name__ == "__main__":
    anyio.run(serve, int(sys.argv[1]) if len(sys.argv) > 1 else 8701)
