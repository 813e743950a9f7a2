"""The reference says what the sources say."""

import importlib
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

import loopkit
from loopkit.stores.sql.schema import tables
from tests.docs.page_helpers import DOCS, ROOT
from tools import python_reference

REFERENCE = DOCS / "reference"


def read(page: str) -> str:
    return (REFERENCE / page).read_text(encoding="utf-8")


def test_the_python_page_is_as_the_sources_are() -> None:
    """The page was made from these sources."""
    assert read("python.md") == python_reference.page(), "run: make docs"


@pytest.mark.parametrize("module", python_reference.MODULES)
def test_every_public_name_is_documented(module: str) -> None:
    """Each name in ``__all__`` has a heading or row below its module, or below the module that is referred to."""
    documented = documented_under(module)
    for home, names in re.findall(r"^Described under \[`([\w.]+)`\]\(.*\): (.+)\.$", section_of(module), re.MULTILINE):
        documented |= set(re.findall(r"`(\w+)`", names)) & documented_under(home)
    assert set(importlib.import_module(module).__all__) - documented == set()


def section_of(module: str) -> str:
    return read("python.md").partition(f"\n## {module}\n")[2].partition("\n## ")[0]


def documented_under(module: str) -> set[str]:
    """Return the names that have a heading, or a row among the errors and constants, below a module's heading."""
    return set(re.findall(r"^(?:### |\| `)(\w+)", section_of(module), re.MULTILINE))


def test_every_column_is_documented() -> None:
    """The page has the tables and their columns in their order, with their types, and whether they may be null."""
    sections = re.split(r"^###? (\w+)$", read("database.md"), flags=re.MULTILINE)
    documented = {
        name: re.findall(r"^\| `(\w+)` \| ([\w ]+) \| (yes|no) \|", body, re.MULTILINE)
        for name, body in zip(sections[1::2], sections[2::2], strict=True)
    }
    assert documented == {
        table.name: [
            (column.name, type_of(column.type), "yes" if column.nullable else "no") for column in table.columns
        ]
        for table in tables.metadata.tables.values()
    }


def type_of(column_type: TypeEngine[Any]) -> str:
    name: str = column_type.compile(dialect=postgresql.dialect()).lower()  # type: ignore[no-untyped-call]
    return re.sub(r" collate .*", "", name).replace("timestamp with time zone", "timestamptz")


def test_every_setting_is_documented() -> None:
    """Each environment variable that the sources name is on the page, and no other."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in Path(ROOT / "packages").rglob("src/**/*.py"))
    named = set(re.findall(r"\bLOOPKIT_[A-Z][A-Z_]*[A-Z]\b", sources))
    assert set(re.findall(r"^\| `(LOOPKIT_\w+)`", read("settings.md"), re.MULTILINE)) == named


def test_every_key_of_a_stage_is_documented() -> None:
    """The keys that agents.yaml may have are on its page."""
    from loopkit.agents.config import agents_yaml, stage_settings

    keys = {
        *agents_yaml._AGENT_KEYS,
        *agents_yaml._BUILDERS,
        *stage_settings._COMMON_KEYS,
        *set().union(*stage_settings._KIND_KEYS.values()),
        *stage_settings._PANEL_KEYS,
        *stage_settings._CRITERION_KEYS,
        *stage_settings._EVALUATOR.prompt_keys,
        *stage_settings._JUDGE.keys,
    }
    assert set(re.findall(r"^\| `(\w+)`", read("agents-yaml.md"), re.MULTILINE)) >= keys


def test_events_are_as_documented() -> None:
    """The journal of a run that passes at its second attempt has the events, messages and keys of the page."""
    row = re.compile(r"^\| [^|]+ \| `(stage_change|log|score_update|error)` \|(.*)\|(.*)\|$", re.MULTILINE)
    documented = {
        message: (kind, set(re.findall(r"`(\w+)`", metadata)))
        for kind, messages, metadata in row.findall(read("database.md"))
        for message in re.findall(r"`([^`]+)`", messages)
    }
    agent = loopkit.Agent(
        name="one", produce=lambda ctx: "text", evaluate=lambda ctx: {"score": 0.36 * ctx.attempt, "feedback": "more"}
    )
    for event in events_of(agent, pass_threshold=0.7):
        kind, keys = documented[str(event.message).replace("0.36", "0.72")]
        assert event.event_type == kind
        assert keys <= {*(event.metadata or {})}


def events_of(agent: loopkit.Agent, *, pass_threshold: float) -> list[loopkit.RunEvent]:
    async def run() -> list[loopkit.RunEvent]:
        async with loopkit.MemoryStore() as store:
            result = await loopkit.run(agent, {}, store=store, pass_threshold=pass_threshold)
            return await store.list_events(result.run.id)

    return anyio.run(run)
