"""The how-to page about mounting is correct."""

import re
from pathlib import Path

import pytest

from tests.web.app_helpers import client

PAGE = Path(__file__).parents[2] / "docs/how-to/mount.md"


async def test_the_fastapi_mount_on_the_page_works_with_the_host_s_own_login() -> None:
    """The first program of the page works: a known user starts a run and is recorded; an unknown one gets 401."""
    program = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert program is not None
    names: dict[str, object] = {}
    exec(program[1], names)
    async with client(names["host"]) as http:  # type: ignore[arg-type]
        assert (await http.get("/loop/api/workflows")).status_code == 401
        ann = {"X-User": "ann"}
        body = {"agentName": "namer", "inputs": {}}
        run = (await http.post("/loop/api/workflows", json=body, headers=ann)).json()
        events = await http.get(f"/loop/api/workflow-events?runId={run['id']}", headers=ann)
        assert events.json()["events"][0]["metadata"]["actor"] == "ann"


def test_the_mount_with_the_host_s_login_takes_five_lines() -> None:
    """From ``async def access`` on, the program on the page has at most five lines that are not blank."""
    text = PAGE.read_text()
    mount = text[text.index("async def access") : text.index("```\n\n- The function")]
    assert len([line for line in mount.splitlines() if line.strip()]) <= 5


@pytest.mark.parametrize("name", ["litestar_mount", "mounted", "routes", "TokenAccess", "allow_all", "create_app"])
def test_the_page_names_each_way_to_mount(name: str) -> None:
    """The page names every public function for mounting and access."""
    import loopkit_web

    assert name in PAGE.read_text()
    assert name in loopkit_web.__all__
