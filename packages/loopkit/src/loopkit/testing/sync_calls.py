"""Synchronous calls of a store: ``with Blocking(store) as sync_store: sync_store.submit([...])``."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal


class Blocking:
    """Store whose methods are synchronous, for tests without an event loop of their own.

    The calls run one after another on an event loop in a thread, which ends with the ``with`` block. The store stays
    open; close it by ``aclose()``.
    """

    def __init__(self, store: object, *, backend: str = "asyncio") -> None:
        self._store = store
        self._loop: AbstractContextManager[BlockingPortal] = start_blocking_portal(backend)
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Self:
        self._portal = self._loop.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._portal = None
        self._loop.__exit__(kind, error, traceback)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        verb = getattr(self._store, name)

        @functools.wraps(verb)
        def call(*args: Any, **options: Any) -> Any:
            assert self._portal is not None, "calls are made inside the `with` block"
            return self._portal.call(functools.partial(verb, *args, **options))

        return call
