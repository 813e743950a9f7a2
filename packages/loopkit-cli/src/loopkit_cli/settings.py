"""Settings of a command: which database, which agents.yaml, how to answer.

Nothing is opened or loaded until a command asks its :class:`Settings` for it, so ``--help`` stays quick.
"""

import shlex
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
import click
from click.core import ParameterSource

from loopkit.core.lease import HEARTBEAT, STALLED_AFTER
from loopkit_cli.options import without_password
from loopkit_cli.value_types import SECONDS

if TYPE_CHECKING:
    from loopkit import Agent
    from loopkit.storage import Storage
    from loopkit.stores.sql.store import SqlStore

T = TypeVar("T")

META_KEY: Final = "loopkit_cli.settings"


@attrs.frozen(kw_only=True)
class Settings:
    """Values of the shared options."""

    database: str
    config: str
    heartbeat: timedelta
    stalled_after: timedelta
    as_json: bool
    repeated: str = ""
    """The ``--database`` option to repeat in suggested commands; empty when it was not given on the command line."""

    def agents(self) -> Mapping[str, "Agent"]:
        """Load the agents of agents.yaml, by name.

        Raises:
            InvalidConfig: the file is missing or invalid; the error names the place.
        """
        from loopkit import load_agents

        return load_agents(self.config)

    def agent(self, name: str) -> "Agent":
        """Load one agent.

        Raises:
            InvalidConfig: the file is missing or invalid.
            UnknownAgent: the file has no such agent.
        """
        from loopkit.agents import find_agent

        return find_agent(self.agents(), name, self.config)

    def check_database_exists(self) -> None:
        """Check that the database is there, for a command that has nothing to do in a new one.

        Raises:
            NotFoundError: it is an SQLite file that does not exist; it is not created.
            InvalidDatabase: the URL names no database.
        """
        from loopkit.stores.sql.opener import check_file_exists

        check_file_exists(self.database)

    def in_store(self, work: Callable[["Storage"], Awaitable[T]]) -> T:
        """Open the database, run ``work`` on it in an event loop, close it, and return the result of ``work``."""
        from loopkit.stores.sql.opener import open_sql_store

        return _run_in(open_sql_store(self.database, self.stalled_after), work)

    def in_store_for_reads(self, work: Callable[["Storage"], Awaitable[T]]) -> T:
        """Run ``work`` as :meth:`in_store` does, without loading what only writes need."""
        from loopkit.stores.sql.opener import open_for_reads

        return _run_in(open_for_reads(self.database, self.stalled_after), work)


def _run_in(store: "SqlStore", work: Callable[["Storage"], Awaitable[T]]) -> T:
    import anyio

    async def do() -> T:
        async with store:
            return await work(store)

    return anyio.run(do)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Store a shared option: after the command it wins over one before it, and both win over the environment."""
    assert param.name is not None
    values = ctx.meta.setdefault(META_KEY, {})
    typed = ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    if param.name not in values or typed:
        values[param.name] = value
    if param.name == "database" and typed:
        values["repeated"] = f" --database {shlex.quote(without_password(value))}"


def _shared(*names: str, **attributes: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=_keep, show_envvar=True, **attributes)


SHARED: Final[tuple[click.Option, ...]] = (
    _shared(
        "--database",
        metavar="URL",
        envvar="LOOPKIT_DATABASE_URL",
        default="sqlite:///loopkit.db",
        show_default=True,
        help="Where the runs are: sqlite:///FILE, postgresql://..., libsql://... or http(s)://...",
    ),
    _shared(
        "--config",
        metavar="FILE",
        envvar="LOOPKIT_CONFIG",
        default="agents.yaml",
        show_default=True,
        help="The file that describes the agents.",
    ),
    _shared(
        "--heartbeat",
        metavar="SECONDS",
        type=SECONDS,
        envvar="LOOPKIT_HEARTBEAT",
        default=int(HEARTBEAT.total_seconds()),
        show_default=True,
        help="Seconds between the heartbeats of a runner.",
    ),
    _shared(
        "--stalled-after",
        metavar="SECONDS",
        type=SECONDS,
        envvar="LOOPKIT_STALLED_AFTER",
        default=int(STALLED_AFTER.total_seconds()),
        show_default=True,
        help="Seconds without a heartbeat after which a run may be taken over; at least twice the heartbeat.",
    ),
    _shared(
        "--json",
        "as_json",
        is_flag=True,
        help="Write one JSON document to stdout and nothing else.",
    ),
)


def settings_of(ctx: click.Context) -> Settings:
    """Return the settings that the shared options of a command, and of the group before it, make.

    Raises:
        click.UsageError: the stall time is less than twice the heartbeat.
    """
    values = ctx.meta[META_KEY]
    heartbeat, stalled_after = values["heartbeat"], values["stalled_after"]
    if stalled_after < 2 * heartbeat:
        raise click.UsageError(
            f"--stalled-after ({stalled_after:g} s) must be at least twice --heartbeat ({heartbeat:g} s)", ctx
        )
    return Settings(
        database=values["database"],
        config=values["config"],
        heartbeat=timedelta(seconds=heartbeat),
        stalled_after=timedelta(seconds=stalled_after),
        as_json=values["as_json"],
        repeated=values.get("repeated", ""),
    )
