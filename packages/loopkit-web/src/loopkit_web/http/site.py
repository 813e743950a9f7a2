"""The site: what belongs to one app, its settings included."""

import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import anyio.lowlevel
import anyio.to_thread
import attrs

from loopkit import Agent, __version__
from loopkit.errors import UnusableOption
from loopkit.storage import Storage
from loopkit.stores import check_url, connect
from loopkit.sync import SyncStore
from loopkit_web.http.access import AccessHook
from loopkit_web.http.event_stream import Streams
from loopkit_web.http.shared_reads import SharedReads, WatchedRuns

if TYPE_CHECKING:
    from loopkit_web.http.endpoint import Endpoint  # which knows Call, which knows Site

__all__ = ["VERSION", "Settings", "Site"]

VERSION: Final = __version__
_PAGE_THREADS: Final = 4
"""Most pages that one app computes at the same time."""


@attrs.frozen(kw_only=True)
class Settings:
    """Settings of one app, fixed when it is created."""

    allowed_hosts: frozenset[str] | None
    """Host names that requests may name, in addition to loopback names; None: any."""
    trusted_origins: frozenset[str]
    """Origins (``https://runs.example``) that may request changes, in addition to the app's own."""
    read_only: bool
    """True if no client may do more than view."""
    base_path: str | None
    """Prefix of every address that the app writes; None: the ``root_path`` of the request."""
    frame_ancestors: str
    """Sources that may show the pages in a frame, in the syntax of Content-Security-Policy."""
    stalled_after: timedelta
    """Time without a heartbeat after which a run may be taken over, for a store that is opened by its URL."""


class Site:
    """One app: its store, agents, access hook, settings, event streams and endpoint table."""

    def __init__(
        self,
        store: Storage | str,
        agents: Mapping[str, Agent],
        *,
        access: AccessHook,
        settings: Settings,
        streams: Streams,
        table: Sequence["Endpoint"],
    ) -> None:
        """Create the site of an app.

        Raises:
            UnusableOption: ``store`` is not an open store.
            InvalidDatabase: it is a URL of no database.
        """
        _check_store(store)
        self.agents = agents
        self.access = access
        self.settings = settings
        self.streams = streams
        self.shared_reads = SharedReads()
        self.watched = WatchedRuns()
        self._page_limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("loopkit pages")
        self.table = table
        """Every endpoint of this app."""
        self._given = store
        self._opened: Storage | None = None
        self._opening = threading.Lock()

    async def store(self) -> Storage:
        """Return the store; one that was given by its URL is opened on first use."""
        if not isinstance(self._given, str):
            return self._given
        opened = self._opened
        return opened if opened is not None else await anyio.to_thread.run_sync(self._open, self._given)

    def _open(self, url: str) -> Storage:
        with self._opening:
            if self._opened is None:
                self._opened = connect(url, stalled_after=self.settings.stalled_after)
            return self._opened

    def page_limiter(self) -> anyio.CapacityLimiter:
        """Return the limiter of the threads that compute pages, one for each event loop."""
        try:
            return self._page_limiter.get()
        except LookupError:
            limiter = anyio.CapacityLimiter(_PAGE_THREADS)
            self._page_limiter.set(limiter)
            return limiter

    async def aclose(self) -> None:
        """End the streams and close the store if this site opened it. Idempotent; the next request opens it again."""
        self.streams.stop()
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()


def _check_store(store: object) -> None:
    if isinstance(store, str):
        check_url(store)
    elif isinstance(store, SyncStore):
        raise UnusableOption(
            "the store must be async, not one of loopkit.sync; pass its URL, or a store that is opened with: "
            "async with loopkit.open_store(url) as store"
        )
    elif isinstance(store, type) or not hasattr(store, "get_run"):
        name = f"the class {store.__name__}" if isinstance(store, type) else type(store).__name__
        raise UnusableOption(
            f"the store must be a database URL or an open store, not {name}; open one with: "
            "async with loopkit.open_store(url) as store"
        )
