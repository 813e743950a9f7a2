"""What every command takes (which database, which agents.yaml, how to answer) and the kinds of values options have.

Nothing is opened or loaded until a command asks its :class:`Settings` for it, so ``--help`` stays quick.
"""

import math
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import attrs
import click
from click.core import ParameterSource

from loopkit.core.run import MAX_ATTEMPTS
from loopkit.errors import UnknownAgent

if TYPE_CHECKING:
    from loopkit.agents import Agent
    from loopkit.storage import Storage

T = TypeVar("T")

_KEPT: Final = "loopkit_cli.options"

_PASSWORD: Final = re.compile(r"://([^:/@]*):[^/]*@")


@attrs.frozen(kw_only=True)
class Settings:
    """What the shared options came to."""

    database: str
    config: str
    heartbeat: timedelta
    stalled_after: timedelta
    as_json: bool
    repeated: str = ""
    """What has to stand behind another command so that it looks at the same database; empty where nothing has to."""

    def agents(self) -> Mapping[str, "Agent"]:
        """Load the agents of agents.yaml, by name.

        Raises:
            InvalidConfig: the file is not there or does not hold; says where.
        """
        from loopkit.agents import load_agents

        return load_agents(self.config)

    def agent(self, name: str) -> "Agent":
        """Load one agent.

        Raises:
            InvalidConfig: the file is not there or does not hold.
            UnknownAgent: the file has no such agent.
        """
        agents = self.agents()
        if name not in agents:
            raise UnknownAgent(name, agents, self.config)
        return agents[name]

    def in_store(self, work: Callable[["Storage"], Awaitable[T]]) -> T:
        """Open the database, do ``work`` with it in an event loop, close it and give what came of the work."""
        from loopkit.stores import open_store

        async def do() -> T:
            async with open_store(self.database, stalled_after=self.stalled_after) as store:
                return await work(store)

        return anyio.run(do)


# --- Kinds of values -------------------------------------------------------------------------------------------------


class Number(click.ParamType[float]):
    """A finite number within bounds, the bounds included."""

    def __init__(self, name: str, low: float, high: float) -> None:
        self.name = name
        self.low, self.high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not (math.isfinite(number) and self.low <= number <= self.high):
            self.fail(f"{value} is not in the range {self.low:g} to {self.high:g}", param, ctx)
        return number


SCORE: Final = Number("score", 0.0, 1.0)
SECONDS: Final = Number("seconds", 0.001, 1e8)
ATTEMPTS: Final = click.IntRange(1, MAX_ATTEMPTS)

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST: Final = timedelta(days=36500)


class Age(click.ParamType[timedelta]):
    """A span of time such as ``30d``: a whole number and one of s, m, h, d, w."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = re.fullmatch(r"([0-9]{1,12})([smhdw])", value)
        if not found:
            self.fail(f"{value!r} is not a number with s, m, h, d or w after it, e.g. 30d", param, ctx)
        seconds = int(found[1]) * _UNITS[found[2]]
        if seconds > _LONGEST.total_seconds():
            self.fail(f"{value} is more than a hundred years", param, ctx)
        return timedelta(seconds=seconds)


# --- The shared options ----------------------------------------------------------------------------------------------


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep a shared option: given after the command it wins over one given before it, and both over the environment."""
    assert param.name is not None
    kept = ctx.meta.setdefault(_KEPT, {})
    typed = ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    if param.name not in kept or typed:
        kept[param.name] = value
    if param.name == "database" and typed:
        kept["repeated"] = f" --database {shlex.quote(without_password(value))}"


def without_password(url: str) -> str:
    """Give a database URL as it may be shown."""
    return _PASSWORD.sub(r"://\1:***@", url)


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
        default=30,
        show_default=True,
        help="How often a runner says that it is alive.",
    ),
    _shared(
        "--stalled-after",
        metavar="SECONDS",
        type=SECONDS,
        envvar="LOOPKIT_STALLED_AFTER",
        default=120,
        show_default=True,
        help="How long a runner may be silent before its run may be taken over; at least twice the heartbeat.",
    ),
    _shared(
        "--json",
        "as_json",
        is_flag=True,
        help="Write one JSON document to stdout, and nothing else there.",
    ),
)


def settings_of(ctx: click.Context) -> Settings:
    """Give what the shared options of a command, and of the group before it, came to.

    Raises:
        click.UsageError: the stall time is less than twice the heartbeat.
    """
    kept = ctx.meta[_KEPT]
    heartbeat, stalled_after = kept["heartbeat"], kept["stalled_after"]
    if stalled_after < 2 * heartbeat:
        raise click.UsageError(
            f"--stalled-after ({stalled_after:g} s) must be at least twice --heartbeat ({heartbeat:g} s)", ctx
        )
    return Settings(
        database=kept["database"],
        config=kept["config"],
        heartbeat=timedelta(seconds=heartbeat),
        stalled_after=timedelta(seconds=stalled_after),
        as_json=kept["as_json"],
        repeated=kept.get("repeated", ""),
    )


class Command(click.Command):
    """A command that takes the shared options, and has its :class:`Settings` as ``ctx.obj``."""

    def __init__(self, name: str | None, *, params: list[click.Parameter] | None = None, **attributes: Any) -> None:
        super().__init__(name, params=[*(params or []), *SHARED], **attributes)

    def invoke(self, ctx: click.Context) -> Any:
        ctx.obj = settings_of(ctx)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [param for param in self.get_params(ctx) if isinstance(param, click.Option) and param not in SHARED]
        with formatter.section("Options"):
            formatter.write_dl([record for param in own if (record := param.get_help_record(ctx))])
        write_shared_options(ctx, formatter)


def write_shared_options(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the help of the options that every command takes, under a heading of their own."""
    with formatter.section("Options of every command"):
        formatter.write_dl([record for option in SHARED if (record := option.get_help_record(ctx))])


def command(name: str, *, examples: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a command of a function: its docstring is the help, ``examples`` (a line each) come after the options."""
    lines = [f"  {line.strip()}" for line in examples.strip().splitlines()]
    epilog = "\b\nExamples:\n" + "\n".join(lines)
    return click.command(name, cls=Command, epilog=epilog)


def pass_settings(function: Callable[..., T]) -> Callable[..., T]:
    """Give the function the command's :class:`Settings` as its first argument."""
    return click.pass_obj(function)


def stage_problems(agent: "Agent") -> dict[str, str]:
    """Give the stages of an agent that cannot be called here, each with the reason."""
    return {name: problem for name, spec in agent.stages.items() if (problem := spec.problem()) is not None}


def complete_agent(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Give the agents of agents.yaml whose names begin as typed; none where the file does not load."""
    from loopkit.agents import load_agents
    from loopkit.errors import LoopkitError

    try:
        names = load_agents(ctx.meta.get(_KEPT, {}).get("config") or "agents.yaml")
    except LoopkitError:
        return []
    return [name for name in names if name.startswith(incomplete)]
