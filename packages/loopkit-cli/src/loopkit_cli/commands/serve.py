"""The command ``serve``: the HTTP API and the dashboard."""

import logging
import os
import secrets
from importlib.util import find_spec
from typing import Any

import click

from loopkit.errors import UnusableOption
from loopkit_cli import output, usable_agents
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.logs import LogFormat, log_options, write_log_lines
from loopkit_cli.settings import Settings
from loopkit_cli.streams import stdin_closed_to_stages

logger = logging.getLogger("loopkit_cli")


class _TokenOption(click.Option):
    """Option whose variable counts when it is empty too: a token file that is missing must not serve everybody."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        return os.environ.get(str(self.envvar))


@command(
    "serve",
    examples="""
        loopkit-cli serve --worker
        loopkit-cli serve --token auto
        LOOPKIT_TOKEN=$(cat token) loopkit-cli serve --host 0.0.0.0 --allowed-host loops.example.org
    """,
)
@click.option("--host", metavar="H", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", metavar="P", type=click.IntRange(0, 65535), default=8700, show_default=True, help="The port; 0 is any."
)
@click.option("--worker", is_flag=True, help="Also work runs, as the command worker does.")
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=8,
    show_default=True,
    help="Runs worked at once with --worker.",
)
@click.option(
    "--token",
    cls=_TokenOption,
    metavar="T",
    envvar="LOOPKIT_TOKEN",
    show_envvar=True,
    help="Token that clients must present, best of 16 characters or more; auto makes a random one and prints the "
    "address that signs a browser in. Better set the variable: options are visible to every user of the machine.",
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    metavar="H",
    multiple=True,
    help="Another host name that is accepted. May be repeated.",
)
@click.option("--allow-unauthenticated", is_flag=True, help="Serve other machines without a token.")
@click.option("--root-path", metavar="PATH", default="", help="Path prefix that a proxy removes, e.g. /loops.")
@log_options
@pass_settings
def serve(
    settings: Settings, worker: bool, token: str | None, log_level: str, log_format: LogFormat, **options: Any
) -> None:
    """Serve the API and the dashboard at http://H:P/. Needs the package loopkit-web.

    A line is logged for each request, and with --worker for each run that ended here. Metrics are at /api/metrics.
    """
    for package in ("loopkit_web", "uvicorn"):
        if find_spec(package) is None:
            name = package.replace("_", "-")
            raise UnusableOption(f"serve needs the package {name}, which is not installed in this environment")
    if token == "":
        raise UnusableOption("the token (--token, LOOPKIT_TOKEN) is empty; give one, or unset the variable")
    from loopkit_cli.servers import server

    agents = settings.agents()
    worked = usable_agents.usable_agents(agents.values()) if worker else None
    is_random = token == "auto"
    options |= {
        "token": secrets.token_urlsafe(32) if is_random else token,
        "shows_token": is_random,
        "worked": worked,
        "heartbeat": settings.heartbeat,
        "announce": output.note if log_format is LogFormat.TEXT else logger.info,
    }
    with stdin_closed_to_stages(), write_log_lines(log_level, log_format):
        settings.in_store(lambda store: server.serve(store, agents, **options))
