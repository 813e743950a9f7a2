"""Start-up of the commands: which slow libraries and parts each of them may load, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Program

ROOT = Path(__file__).parents[2]

SLOW = {
    *(
        "cattrs",
        "httpx",
        "jsonschema",
        "openai",
        "psycopg",
        "pydantic",
        "pydantic_ai",
        "rich",
        "sqlalchemy",
        "starlette",
    ),
    *("turso_serverless", "uvicorn", "yaml", "loopkit.runner", "loopkit_cli.servers.server", "loopkit_web"),
    *("sqlalchemy.dialects.postgresql", "loopkit.stores.sql.databases.libsql"),
    *("loopkit.stores.sql.operations.figures", "loopkit.stores.sql.operations.checks.invariants"),
    *("loopkit.stores.sql.writes.write_path", "loopkit.stores.sql.statements.claims"),
}
"""What takes more than some ten milliseconds to load, or stands for a part that does."""

AGENTS = {"jsonschema", "yaml"}
"""What agents.yaml and the inputs of a run are checked with."""

WRITES = {"loopkit.stores.sql.writes.write_path", "loopkit.stores.sql.statements.claims"}

MAY_LOAD: dict[str, set[str]] = {
    "--help": set(),
    "init new": set(),
    "completion bash": set(),
    "list": {"sqlalchemy"},
    "list --json": {"sqlalchemy", "cattrs"},
    "show last": {"sqlalchemy"},
    "events last": {"sqlalchemy"},
    "artifacts last": {"sqlalchemy"},
    "stats": {"sqlalchemy", "loopkit.stores.sql.operations.figures"},
    "verify": {"sqlalchemy", "loopkit.stores.sql.operations.checks.invariants"},
    "agents": {*AGENTS},
    "submit writer --input topic=x": {"sqlalchemy", *AGENTS, *WRITES},
    "cancel last": {"sqlalchemy", *WRITES},
}


@pytest.mark.parametrize("command", MAY_LOAD)
def test_a_command_loads_only_what_it_needs(cli: Program, command: str) -> None:
    """Everything else would be waited for at each call."""
    run_id = cli.submit()
    assert cli.good("list", "--json").json["runs"][0]["id"] == run_id
    program = (
        "import json, sys\n"
        "from loopkit_cli.main import main\n"
        "status = main(sys.argv[1:])\n"
        "print(json.dumps([status, *sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command.split()],
        cwd=cli.folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    status, *loaded = json.loads(done.stderr.splitlines()[-1])
    assert status == 0, done.stderr
    assert SLOW.intersection(loaded) == MAY_LOAD[command]
