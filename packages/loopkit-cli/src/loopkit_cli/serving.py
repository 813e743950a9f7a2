"""What ``serve`` does: the API and the dashboard by uvicorn, and with it a runner where one is asked for.

Importing this needs the extra ``web``. Nothing is opened to other machines by accident: another address than loopback
needs a token or an explicit word, and only known Host names are answered.
"""

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Final

import anyio
import uvicorn

from loopkit.agents import Agent
from loopkit.errors import UnusableOption
from loopkit.runner import HEARTBEAT, Runner, Stopping
from loopkit.storage import Storage
from loopkit_cli.output import note
from loopkit_cli.signals import Signals, surroundings
from loopkit_web import AccessHook, App, LoopbackOnly, TokenAccess, allow_all, create_app, is_loopback

__all__ = ["serve"]

_LAST_ANSWERS_SECONDS: Final = 10
"""How long answers under way may take after a stop was asked for."""

_RUNS_GO_BACK: Final = "no new runs; those under way go back when their stages are finished"


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
    root_path: str = "",
) -> None:
    """Serve until the first signal; then take nothing new, let answers and stages end, and return.

    Runs on asyncio. Open event streams end at the first signal; the second ends everything at once.

    Args:
        agents: what runs can be started of.
        worked: the agents whose runs are worked here as well; None: no runs are worked.

    Raises:
        UnusableOption: the address cannot be listened on, is open to others without a token or
            ``allow_unauthenticated``, or a host or token is none.
    """
    with ExitStack() as opened:
        sockets = [opened.enter_context(listening) for listening in _listen(host, port)]
        open_to_others = not all(is_loopback(listening.getsockname()[0]) for listening in sockets)
        if open_to_others and token is None and not allow_unauthenticated:
            raise UnusableOption(
                f"{host or 'every address'} is open to other machines: give --token (LOOPKIT_TOKEN), "
                "or --allow-unauthenticated if everybody who can reach it may do everything"
            )
        hosts = [name for name in (host, *allowed_hosts) if not _is_wildcard(name)]
        app = _make_app(store, agents, hosts, token=token, allow_unauthenticated=allow_unauthenticated)
        stopping = Stopping()
        server = _Server(app, stopping, root_path=root_path)
        with Signals(stopping, waiting_for="answers under way are finished" if worked is None else _RUNS_GO_BACK):
            _tell(sockets[0], hosts, worked, wildcard=_is_wildcard(host))
            async with anyio.create_task_group() as tasks:
                if worked is not None:
                    runner = Runner(
                        store,
                        worked,
                        concurrency=concurrency,
                        heartbeat=heartbeat,
                        stopping=stopping,
                        environment=surroundings(),
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


def _listen(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of a host's name."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = {address: family for family, _, _, _, address in found}
        if port == 0 or not host:  # any free port is one port, and the wildcard one socket
            addresses = dict(list(addresses.items())[:1])
        return [socket.create_server(address[:2], family=family) for address, family in addresses.items()]
    except (OSError, OverflowError, UnicodeError) as error:
        raise UnusableOption(f"cannot listen on {host or '*'}:{port}: {error}") from None


def _is_wildcard(host: str) -> bool:
    return host.strip("[]") in ("", "0.0.0.0", "::")


class _Server(uvicorn.Server):
    """uvicorn, stopped by a :class:`Stopping` in place of signals of its own."""

    def __init__(self, app: App, stopping: Stopping, *, root_path: str) -> None:
        config = uvicorn.Config(
            app,
            root_path=root_path,
            lifespan="off",
            ws="none",
            proxy_headers=False,  # who asks is who connects; a header must not say otherwise
            server_header=False,
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
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


def _tell(listening: socket.socket, hosts: Sequence[str], worked: Sequence[Agent] | None, *, wildcard: bool) -> None:
    address, port = listening.getsockname()[:2]
    shown = "localhost" if wildcard else f"[{address}]" if ":" in address else address
    if wildcard:
        names = ", ".join(["localhost", *hosts])
        note(f"Answers to the names {names}; for others give --allowed-host NAME, as browsers will write it.")
    if worked is not None:
        note(f"Works runs of: {', '.join(agent.name for agent in worked)}")
    note(f"loopkit at http://{shown}:{port}/ (Ctrl+C stops)")
