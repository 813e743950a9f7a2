"""Ids of any length, as other programs write them: lists show their beginnings, and nothing leads to another run."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, create_engine, text

import loopkit
from loopkit.storage import Storage
from tests.web.app_helpers import client, listening, make_app

BEGINNING = "x" * 1_000
Put = Callable[..., None]


@pytest.fixture(params=[pytest.param("sqlite_url"), pytest.param("postgres_url", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database of each kind that another program can write to."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture
async def store(url: str) -> AsyncIterator[Storage]:
    async with loopkit.open_store(url) as opened:
        yield opened


@pytest.fixture
def put(url: str, store: Storage) -> Iterator[Put]:
    """Return a function that inserts a run as another program does."""
    engine: Engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))

    def insert(run_id: str, **row: Any) -> None:
        values = {"id": run_id, "agent_name": "namer", "cycle_id": "c", "status": "queued", "max_attempts": 3}
        values |= {"pass_threshold": 0.8, "inputs": '{"thing": "a cat"}'} | row
        marks = ", ".join(f":{name}" for name in values)
        with engine.begin() as connection:
            connection.execute(text(f"INSERT INTO workflow_runs ({', '.join(values)}) VALUES ({marks})"), values)

    yield insert
    engine.dispose()


def rows_of(page: str) -> list[str]:
    """Return the rows of the list."""
    return re.findall(r'<tr class="run.*?</tr>', page, re.DOTALL)


async def lists(http: httpx.AsyncClient) -> tuple[str, list[Any]]:
    """Return the page of the list, and the runs of the API."""
    page, part, runs = [await http.get(path) for path in ("/agents", "/agents?part=rows", "/api/workflows")]
    assert (page.status_code, part.status_code, runs.status_code) == (200, 200, 200)
    assert len(rows_of(page.text)) == len(rows_of(part.text)) == len(runs.json()["runs"])
    return page.text, runs.json()["runs"]


@pytest.mark.parametrize("size", [1_001, 100_000, 4_000_000])
async def test_lists_show_the_beginning_of_an_id(size: int, url: str, store: Storage, put: Put) -> None:
    """The rows of three such runs have no link and no box to select them; other rows have both."""
    if size > 100_000 and not url.startswith("sqlite"):
        size = 100_000  # PostgreSQL takes no longer one
    for last in "abc":
        put("x" * (size - 1) + last, title="Of spring")
    put("short")
    async with client(make_app(store)) as http:
        page, runs = await lists(http)
        assert len(page) < 60_000
        unlinked = [row for row in rows_of(page) if "Of spring" in row]
        [linked] = [row for row in rows_of(page) if "Of spring" not in row]
        for row in unlinked:
            assert "href" not in row
            assert "<input" not in row
            assert "x" * 100 + " …</code>&ensp;<span>id too long for a link</span>" in row
            assert "x" * 101 not in row
        assert len(set(re.findall(r' id="(u-[^"]+)"', "".join(unlinked)))) == 3
        assert 'href="/agents/short"' in linked
        assert 'name="id" value="short"' in linked
        assert sorted(run["id"] for run in runs) == ["short", *[BEGINNING + "…"] * 3]
        assert all(run["inputs"] == {"thing": "a cat"} for run in runs)
        for path in ("/api/workflows?id=", "/agents/"):
            assert (await http.get(path + BEGINNING + "%E2%80%A6")).status_code == 404
        if size < 10_000:
            whole = "x" * (size - 1) + "a"
            assert (await http.get(f"/agents/{whole}")).status_code == 200
            assert (await http.get(f"/api/workflows?id={whole}")).json()["id"] == whole


async def test_a_run_with_the_id_that_a_list_shows_of_another_is_no_target(store: Storage, put: Put) -> None:
    """Neither run is linked, and the API gives each row what is its own."""
    put(BEGINNING + "y", status="failed", final_score=0.5, error_message="e" * 20_000)
    put(BEGINNING + "…", title="Of spring")
    async with client(make_app(store)) as http:
        page, runs = await lists(http)
        assert not any("href" in row or "<input" in row for row in rows_of(page))
        assert {(run["status"], len(run["errorMessage"] or ""), run["title"]) for run in runs} == {
            ("failed", 10_000, None),
            ("queued", 0, "Of spring"),
        }


async def test_pages_of_the_list_go_on(store: Storage, put: Put) -> None:
    """A list by pages of one run ends, with every run but those that begin like the last one of a page."""
    moment = {"created_at": "2026-11-22T10:00:00.000Z"}
    for run_id in (BEGINNING + "a", BEGINNING + "b", "a", "z"):
        put(run_id, **moment)
    async with client(make_app(store)) as http:
        for order, expected in (("created", ["z", BEGINNING + "…", "a"]), ("created_asc", ["a", BEGINNING + "…", "z"])):
            found: list[str] = []
            cursor: str | None = ""
            while cursor is not None:
                page = (await http.get(f"/api/workflows?limit=1&order={order}{cursor and '&cursor=' + cursor}")).json()
                found += [run["id"] for run in page["runs"]]
                cursor = page["nextCursor"]
            assert found == expected


async def test_changes_of_runs_whose_ids_begin_alike_are_told(store: Storage, put: Put, url: str) -> None:
    """The stream of the list names them by what the list has of their ids."""
    for last in "ab":
        put("x" * 50_000 + last, status="running")
    app = make_app(store)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    for last in "ab":
        async with listening(app, "/api/workflow-stream") as stream:
            await stream.headers_sent()
            change = text("UPDATE workflow_runs SET current_attempt = 2 WHERE id = :id")
            with engine.begin() as connection:
                connection.execute(change, {"id": "x" * 50_000 + last})
            told = await stream.event()
        assert told is not None
        assert told["runs"] == [BEGINNING + "…"]
    engine.dispose()


async def test_runners_hold_runs_with_long_ids(store: Storage, put: Put) -> None:
    """Their page names such a run without a link; the API gives the beginning of its id."""
    put("x" * 100_000, status="running", claimed_by="host:1:x")
    info = loopkit.storage.RunnerInfo(id="r", name="host:1", version="1", agents=("namer",), slots=2, busy=1)
    await store.announce(info)  # type: ignore[attr-defined]
    async with client(make_app(store)) as http:
        page = (await http.get("/runners")).text
        assert "<code" in page
        assert re.search(r'<td><code title="x{100} …">xxxxx…</code> </td>', page)
        assert (await http.get("/api/runners")).json()["runners"][0]["runs"] == [BEGINNING + "…"]


@pytest.mark.parametrize("mark", ["'", "\U0001f600", "x"])
async def test_the_page_is_bounded_for_ids_of_any_length(mark: str, store: Storage, put: Put) -> None:
    """Ids that lists have whole are linked as long as there is room for them."""
    for number in range(50):
        put(mark * 300 + f"{number:03}" + mark * 697)
    async with client(make_app(store)) as http:
        page, runs = await lists(http)
        assert {len(run["id"]) for run in runs} == {1_000}
        linked = sum("href" in row for row in rows_of(page))
        assert 5 < linked < 50
        assert len(page.encode()) < 500_000
