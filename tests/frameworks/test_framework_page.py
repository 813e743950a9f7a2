"""What "Use your framework" says: its recipes work, and its table has the cells that are tested."""

import asyncio
import re
from pathlib import Path

import pytest

import loopkit
from tests.agents.model_server_helpers import speaks
from tests.docs.page_helpers import DOCS
from tests.frameworks.conftest import Serve
from tests.frameworks.framework_helpers import MEMO, Framework, installed
from tests.frameworks.recipe_helpers import module_of, recipes

PAGE = DOCS / "how-to" / "use-your-framework.md"


def file_of(framework: Framework) -> str:
    return f"{framework.name.lower().replace('-', '_')}_recipe.py".replace("llamaindex", "llama_index")


@pytest.mark.parametrize("framework", installed(), ids=lambda framework: framework.name)
def test_recipe_of_a_framework(framework: Framework, serve: Serve, tmp_path: Path) -> None:
    """It writes the memo that the model writes."""
    serve(speaks(framework.answer))
    recipe = module_of(tmp_path, file_of(framework), recipes(PAGE)[file_of(framework)])
    agent = loopkit.Agent(name="memo", produce=recipe.write, evaluate=lambda ctx: 1.0)
    assert asyncio.run(loopkit.run(agent, {"topic": "owls"})).raise_for_status().output == MEMO


def test_table_of_frameworks() -> None:
    """It has the cells that are tested, and no recipe belongs to a framework that is not in it."""
    rows = dict(re.findall(r"^\| \[([\w-]+)\]\(.*?\) (\|.*\|)$", PAGE.read_text(), re.MULTILINE))
    for framework in installed():
        asynchronous = "y" if framework.is_async else ""
        raw = "y" if framework.raw_error is None else "`.toDict()`"
        cells = [asynchronous, "y", raw, asynchronous, "y"]
        assert [cell.strip() for cell in rows[framework.name].strip("|").split("|")] == cells, framework.name
    assert len(recipes(PAGE)) == len(rows)
