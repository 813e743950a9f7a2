"""The server of ``serve``: API and dashboard on uvicorn, with a runner beside it when one is wanted.

Needs the package loopkit-web. Nothing is opened to other machines by accident: an address other than loopback needs a
token or an explicit option, and only known Host names are accepted.
"""

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Final

import anyio
import uvicorn

from loopkit import Agent
from loopkit.errors import UnusableOption
from loopkit.runner import HEARTBEAT, Runner, Stopping
from loopkit.storage import Storage
from loopkit_cli.output import note
from loopkit_cli.servers.request_log import RequestLog
from loopkit_cli.servers.sockets import listen
from loopkit_cli.signals import RUNS_GO_BACK, Signals, signal_aware_environment
from loopkit_web import AccessHook, App, LoopbackOnly, TokenAccess, allow_all, create_app, is_loopback

__all__ = ["serve"]

ADVISED_TOKEN_CHARS: Final = 16
"""Fewest characters of a token that is accepted without a warning."""

_LAST_RESPONSES_SECONDS: Final = 10
"""Seconds that responses under way may take after a stop was requested."""


async def serve(
    store: Storage,
    agents: Mapping[str, Agent],
    *,
    host: str = "127.0.0.1",
    port: int = 8700,
    worked: Sequence[Agent] | None = None,
    concurrency: int = 8,
    heartbeat: timedelta = HEARTBEAT,
    token: str | None = None,
    allowed_hosts: Sequence[str] = (),
    allow_unauthenticated: bool = False,
    shows_token: bool = False,
    announce: Callable[[str], None] = note,
    root_path: str = "",
) -> None:
    """Serve until the first signal; then accept nothing new, finish responses and stages, and return.

    Runs on asyncio. Open event streams end at the first signal; the second ends everything at once.

    Args:
        agents: the agents whose runs can be started.
        token: what clients must present.
        announce: writes one line of what to know at the start.
        shows_token: print the address that signs a browser in, with the token.
        worked: the agents whose runs are also worked here; None: no runs are worked.

    Raises:
        UnusableOption: the address cannot be listened on, it is open to other machines without a token or
            ``allow_unauthenticated``, or a host name or token is invalid.
    """
    with ExitStack() as opened:
        sockets = [opened.enter_context(listening) for listening in listen(host, port)]
        if token is None and not allow_unauthenticated:
            _check_loopback(sockets, host)
        hosts = [name for name in (host, *allowed_hosts) if not _is_wildcard(name)]
        app = _make_app(store, agents, hosts, token=token, allow_unauthenticated=allow_unauthenticated)
        stopping = Stopping()
        server = _Server(app, stopping, root_path=root_path)
        with Signals(stopping, waiting_for="responses under way are finished" if worked is None else RUNS_GO_BACK):
            _announce(sockets[0], hosts, announce, token=token, shows_token=shows_token, wildcard=_is_wildcard(host))
            if worked is not None:
                announce(f"Working runs of: {', '.join(agent.name for agent in worked)}")
            async with anyio.create_task_group() as tasks:
                if worked is not None:
                    runner = Runner(
                        store,
                        worked,
                        concurrency=concurrency,
                        heartbeat=heartbeat,
                        stopping=stopping,
                        environment=signal_aware_environment(),
                    )
                    tasks.start_soon(runner.serve, name="runner")
                await server.serve(sockets)


def _make_app(
    store: Storage, agents: Mapping[str, Agent], hosts: Iterable[str], *, token: str | None, allow_unauthenticated: bool
) -> App:
    try:
        access: AccessHook = LoopbackOnly(hosts)
        if token is not None:
            access = TokenAccess(token)
        elif allow_unauthenticated:
            access = allow_all
        return create_app(store, agents, access=access, allowed_hosts=hosts)
    except ValueError as error:
        raise UnusableOption(str(error)) from None


def _check_loopback(sockets: Sequence[socket.socket], host: str) -> None:
    if not all(is_loopback(listening.getsockname()[0]) for listening in sockets):
        raise UnusableOption(
            f"{host or 'every address'} is open to other machines: give --token (LOOPKIT_TOKEN), "
            "or --allow-unauthenticated if everyone who can reach it may do everything"
        )


def _is_wildcard(host: str) -> bool:
    return host.strip("[]") in ("", "0.0.0.0", "::")


class _Server(uvicorn.Server):
    """uvicorn server that a :class:`Stopping` stops, in place of its own signal handlers."""

    def __init__(self, app: App, stopping: Stopping, *, root_path: str) -> None:
        config = uvicorn.Config(
            RequestLog(app),
            root_path=root_path,
            lifespan="off",
            ws="none",
            proxy_headers=False,  # the client is the one who connects; a header must not say otherwise
            server_header=False,
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=_LAST_RESPONSES_SECONDS,
        )
        super().__init__(config)
        self._app = app
        self._stopping = stopping
        stopping.listen(self._stop)

    def _stop(self) -> None:
        self._app.streams.stop()
        self.should_exit = True
        self.force_exit = self._stopping.ending

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _announce(
    listening: socket.socket,
    hosts: Sequence[str],
    announce: Callable[[str], None],
    *,
    token: str | None,
    shows_token: bool,
    wildcard: bool,
) -> None:
    address, port = listening.getsockname()[:2]
    shown = "localhost" if wildcard else f"[{address}]" if ":" in address else address
    if wildcard:
        names = ", ".join(["localhost", *hosts])
        announce(f"Accepted host names: {names}. For another one give --allowed-host NAME, as browsers will write it.")
    if token is not None and len(token) < ADVISED_TOKEN_CHARS:
        announce(
            f"Warning: --token (LOOPKIT_TOKEN) has fewer than {ADVISED_TOKEN_CHARS} characters, so it can be guessed; "
            "--token auto makes a random one."
        )
    if shows_token:
        announce(
            f"Open http://{shown}:{port}/sign-in?token={token} to sign a browser in. The token is not shown again."
        )
    elif token is None and is_loopback(address):
        announce(
            "Only direct requests from this machine are answered; a proxy needs --token, for instance --token auto."
        )
    announce(f"loopkit at http://{shown}:{port}/ (Ctrl+C stops)")
