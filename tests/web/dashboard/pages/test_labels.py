"""Titles, tags and reasons on the pages."""

from markupsafe import escape

from loopkit import MemoryStore
from loopkit_web import Access
from tests.web.app_helpers import client, make_app, started, work
from tests.web.dashboard.page_helpers import PageReader

HOSTILE = '<img src=x onerror="alert(1)">'


async def test_the_list_shows_and_filters_by_labels() -> None:
    """A tag leads to the runs that have it; several must all be there, and a reason is in the query too."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        first, second = (await started(http))["id"], (await started(http))["id"]
        await http.patch(f"/api/workflows?id={first}", json={"title": "Of spring", "tags": ["a&b", "c"]})
        await http.patch(f"/api/workflows?id={second}", json={"tags": ["c"]})
        await work(store)

        async def listed(query: str) -> set[str]:
            text = (await http.get(f"/agents?{query}")).text
            return {run_id for run_id in (first, second) if f'id="r-{run_id}"' in text}

        page = PageReader(await http.get("/agents"))
        assert "Of spring" in page.text
        assert "/agents?tag=a%26b" in page.links
        assert await listed("tag=a%26b") == await listed("tag=c&tag=a%26b") == {first}
        assert await listed("tag=c&tag=") == {first, second}
        assert await listed("reason=score_passed&tag=c") == {first, second}
        assert await listed("reason=stage_error") == set()
        assert await listed("reason=bored") == {first, second}
        assert await listed("q=spring") == {first}
        filtered = PageReader(await http.get("/agents?tag=c&tag=a%26b&reason=score_passed"))
        assert "/agents?tag=c&reason=score_passed" in filtered.links


async def test_labels_are_edited_without_scripts() -> None:
    """The form has what the run has; empty fields take it away, and bad values change nothing and are named."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run_id = (await started(http))["id"]
        path = f"/agents/{run_id}"
        form = PageReader(await http.get(path)).form("Save")
        assert form["action"] == f"{path}/labels"
        saved = await http.post(form["action"], data={"title": f" {HOSTILE} ", "tags": f"b\r\n\r\n{HOSTILE}\r\na"})
        assert (saved.status_code, saved.headers["location"]) == (303, path)
        run = await store.get_run(run_id)
        assert (run.title, run.tags) == (HOSTILE, tuple(sorted(["a", "b", HOSTILE])))
        shown = await http.get(path)
        assert HOSTILE not in shown.text
        assert PageReader(shown).form("Save")["fields"]["title"] == HOSTILE
        typed = {"title": "x" * 201, "tags": f"{HOSTILE}\r\n{'y' * 51}"}
        bad = await http.post(form["action"], data=typed)
        assert bad.status_code == 422
        assert HOSTILE not in bad.text
        reader = PageReader(bad)
        assert "Tag 2 must have 1 to 50 characters" in reader.text
        again = reader.form("Save")
        assert (again["action"], again["fields"]["title"]) == (form["action"], typed["title"])
        assert f">\n{escape(HOSTILE)}\n{'y' * 51}</textarea>" in bad.text
        assert await store.get_run(run_id) == run
        await http.post(form["action"], data={"title": "", "tags": ""})
        assert (await store.get_run(run_id)).tags == ()
        assert (await http.post("/agents/run_unknown/labels", data={"title": "x"})).status_code == 404


async def test_who_may_not_start_runs_has_no_form() -> None:
    """The form is there, and answered, with the permission to start runs alone."""
    allowed = {"start", "view"}

    async def access(_: object) -> Access:
        return Access(actor="ann", allow=frozenset(allowed))

    async with client(make_app(access=access)) as http:
        run_id = (await started(http))["id"]
        allowed.remove("start")
        assert "Edit title and tags" not in (await http.get(f"/agents/{run_id}")).text
        assert (await http.post(f"/agents/{run_id}/labels", data={"title": "x"})).status_code == 403
