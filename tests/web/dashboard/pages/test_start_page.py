"""Tests of the start page over HTTP."""

import html
import re
from typing import Any

import attrs

from loopkit import Agent, MemoryStore
from loopkit.core.run import NewRun
from tests.web.app_helpers import client, make_app, namer
from tests.web.dashboard.page_helpers import PageReader, submit


async def test_rejected_form_lists_its_faults_in_order() -> None:
    """The form comes back with 422, the faults in the order of its fields and the settings last, and all values."""
    async with client(make_app()) as http:
        form = PageReader(await http.get("/agents/start?agent=namer")).form("Start")
        fields = {"inputs/count": "none", "maxAttempts": "0"}
        response = await submit(http, form, **fields)
        text = " ".join(PageReader(response).text.split())
        assert response.status_code == 422
        assert "3 fields have errors. No run was started." in text
        places = [text.index(label) for label in ("Thing is required", "Count is not of type", "Maximum attempts is ")]
        assert places == sorted(places)
        assert PageReader(response).form("Start")["fields"]["maxAttempts"] == "0"


async def test_form_is_filled_with_the_inputs_of_a_run() -> None:
    """``from`` fills the form with a run's inputs, and its settings where they differ from the agent's."""
    async with client(make_app()) as http:
        body = {"agentName": "namer", "inputs": {"thing": "a cat"}, "maxAttempts": 5}
        run = (await http.post("/api/workflows", json=body)).json()
        page = await http.get(f"/agents/start?from={run['id']}")
        fields = PageReader(page).form("Start")["fields"]
        assert fields["inputs/count"] == "3"
        assert (fields["maxAttempts"], fields["passThreshold"]) == ("5", "")
        assert "a cat</textarea>" in page.text


async def test_unknown_agent_is_a_404() -> None:
    """An agent that is not configured has no form."""
    async with client(make_app()) as http:
        assert (await http.get("/agents/start?agent=nobody")).status_code == 404


async def test_every_choice_of_a_list_has_words() -> None:
    """The choice of nothing, and that of a blank text, have words (HTML: an option without a label is not empty)."""
    for required, words in ([], "None"), (["region"], "Choose"):
        region = {"type": "string", "enum": ["north", "a  b", ""]}
        schema = {"type": "object", "properties": {"region": region}, "required": required}
        agent = attrs.evolve(namer(), inputs=schema)
        async with client(make_app(agents=[agent])) as http:
            page = (await http.get("/agents/start?agent=namer")).text
        options = re.findall(r"<option[^>]*>[^<]*</option>", page)
        assert options[-4:] == [
            f'<option value="">{words}</option>',
            '<option value="north">north</option>',
            '<option value="a  b">a  b</option>',
            '<option value="">(blank text)</option>',
        ]


async def test_inputs_that_a_form_cannot_hold_are_said_to_be_too_large() -> None:
    """The form of a run whose inputs would make the page too large says so, and has the defaults."""
    store = MemoryStore()
    agent = Agent(name="namer", produce=lambda _: "x", evaluate=lambda _: 1.0, inputs={"type": "object"})
    async with client(make_app(store, [agent])) as http:
        for inputs in ({"a": "x" * 900_000}, {"a": "'" * 150_000}):
            [run] = await store.submit([NewRun(agent_name="namer", inputs=inputs)])
            page = await http.get(f"/agents/start?from={run.id}")
            assert page.status_code == 200
            assert "are too large for a form" in page.text
            assert len(page.content) < 50_000


async def test_form_of_many_rows_comes_back_whole() -> None:
    """A list of more rows than a form shows is a JSON field, and starts a run with all of them."""
    store = MemoryStore()
    schema = {"type": "object", "properties": {"words": {"type": "array", "items": {"type": "string"}}}}
    agent = Agent(name="namer", produce=lambda _: "x", evaluate=lambda _: 1.0, inputs=schema)
    inputs = {"words": [f"word {n}" for n in range(2_000)]}
    async with client(make_app(store, [agent])) as http:
        [run] = await store.submit([NewRun(agent_name="namer", inputs=inputs)])
        page = await http.get(f"/agents/start?from={run.id}")
        [area] = re.findall(r'<textarea id="f-words"[^>]*>\n(.*?)</textarea>', page.text, re.DOTALL)
        form = PageReader(page).form("Start run")
        response = await submit(http, form, **{"inputs/words": html.unescape(area)}, start="1")
        assert response.status_code == 303
        assert (await store.get_run(response.headers["location"].rpartition("/")[2])).inputs == inputs


async def test_edit_and_rerun_sent_as_it_comes_starts_the_same_run() -> None:
    """Inputs and pass mark that the usual fields cannot hold come back the same; a password is asked for again."""
    schema = {
        "type": "object",
        "properties": {"maybe": {"type": ["string", "null"]}, "any": {}, "key": {"type": "string", "writeOnly": True}},
    }
    agent = attrs.evolve(namer(), inputs=schema)
    async with client(make_app(agents=[agent])) as http:
        runs: list[dict[str, Any]] = [
            {"maybe": None, "any": {}},
            {"maybe": "", "further": [1]},
            {"maybe": "a\u202eb\u2069", "further\u2067": ["\u202c"]},
        ]
        for inputs in runs:
            body = {"agentName": "namer", "inputs": inputs, "passThreshold": 1e-9}
            run = (await http.post("/api/workflows", json=body)).json()
            page = await http.get(f"/agents/start?from={run['id']}")
            assert "to be entered again" not in page.text
            form = PageReader(page).form("Start")
            areas = re.findall(r'<textarea[^>]* name="([^"]*)"[^>]*>\n([^<]*)</textarea>', page.text)
            sent = await submit(http, form, start="1", **{name: html.unescape(text) for name, text in areas})
            new = (await http.get(f"/api/workflows?id={sent.headers['location'].rpartition('/')[2]}")).json()
            assert (new["inputs"], new["passThreshold"]) == (inputs, 1e-9)
        run = (await http.post("/api/workflows", json={"agentName": "namer", "inputs": {"key": "s3cret"}})).json()
        page = await http.get(f"/agents/start?from={run['id']}")
        assert "Not filled in, and to be entered again: key." in page.text
        assert "s3cret" not in page.text


async def test_a_form_of_an_agent_that_is_gone_keeps_what_was_filled_in() -> None:
    """The page says what happened, and leads on to the form of another agent with the same values."""
    async with client(make_app()) as http:
        opened = PageReader(await http.get("/agents/start?agent=namer")).form("Start")["fields"]
    async with client(make_app(agents=[namer("renamer")])) as http:
        filled = opened | {"inputs/thing": "a 'cat'", "inputs/count": "7", "maxAttempts": "5"}
        gone = await http.post("/agents/start", data=filled, headers={"accept": "text/html"})
        assert gone.status_code == 404
        assert "No run was started" in gone.text
        assert "is not configured any more" in gone.text
        assert "a &#39;cat&#39;</textarea>" in gone.text
        kept = {"inputs/thing": "a 'cat'", "inputs/count": "7", "maxAttempts": "5", "agent": "renamer", "moved": "1"}
        assert all(f'name="{name}"' in gone.text for name in kept)
        again = await http.post("/agents/start", data=kept)
        assert again.status_code == 200
        fields = PageReader(again).form("Start")["fields"]
        assert (fields["agent"], fields["inputs/count"], fields["maxAttempts"]) == ("renamer", "7", "5")
        assert "a &#39;cat&#39;</textarea>" in again.text
        assert (await http.get("/api/workflows")).json()["runs"] == []
