"""Showing work as it happens, on stderr: a line an event, and on a terminal a status line below them that stays."""

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import attrs

from loopkit.core.journal import EventType, RunEvent
from loopkit.core.run import Run
from loopkit.errors import StorageUnavailable
from loopkit_cli import words
from loopkit_cli.output import clean_line, note, shorten

if TYPE_CHECKING:
    from loopkit.storage import Storage

POLL_SECONDS: Final = 0.1
"""How often the journal of a run that is worked here is read."""

FOLLOW_SECONDS: Final = (0.1, 1.0)
"""How often the journal of a run that is worked elsewhere is read: soon after news, slower without any."""

PAGE: Final = 1000


# --- Reading the journal ---------------------------------------------------------------------------------------------


async def journal(store: "Storage", run_id: str, *, after: int = 0) -> AsyncIterator[RunEvent]:
    """Give every event of a run with id > ``after`` that is there now, oldest first."""
    while page := await store.list_events(run_id, after=after, limit=PAGE):
        for event in page:
            yield event
        if len(page) < PAGE:
            return
        after = page[-1].id


async def follow(store: "Storage", run_id: str) -> AsyncIterator[RunEvent]:
    """Give every event of a run, those to come as well, until the last one of the ended run."""
    seen, pause = 0, FOLLOW_SECONDS[0]
    while True:
        ended = (await store.get_run(run_id)).ended
        before = seen
        async for event in journal(store, run_id, after=seen):
            seen = event.id
            yield event
        if ended:
            return
        pause = FOLLOW_SECONDS[0] if seen > before else min(pause * 1.5, FOLLOW_SECONDS[1])
        await anyio.sleep(pause)


async def last_event_id(store: "Storage", run_id: str) -> int:
    """Give the id of the newest event of a run, 0 where there is none."""
    newest = await store.list_events(run_id, before=2**62, limit=1)
    return newest[-1].id if newest else 0


# --- What is shown ---------------------------------------------------------------------------------------------------


class Display(Protocol):
    """Where progress is shown."""

    moves: bool
    """True when there is a line that changes in place."""

    def tell(self, line: str) -> None:
        """Show a line that stays."""

    def update(self, status: Callable[[], str]) -> None:
        """Show from now on what ``status`` gives, as the one line that changes."""


class Plain:
    """Lines on stderr, for pipes and files."""

    moves = False

    def __enter__(self) -> "Plain":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tell(self, line: str) -> None:
        note(clean_line(line))

    def update(self, status: Callable[[], str]) -> None:
        """Show nothing: there is no line that could change."""


class Live:
    """Lines on a terminal with a spinner and a status line below them."""

    moves = True

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive
        from rich.spinner import Spinner
        from rich.text import Text

        self._text: type[Text] = Text
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._spinner = Spinner("dots")
        self._status: Callable[[], str] = str
        self._live = RichLive(console=self._console, get_renderable=self._render, refresh_per_second=8, transient=True)

    def _render(self) -> Any:
        line = shorten(clean_line(self._status()), max(self._console.width - 4, 20))
        self._spinner.update(text=self._text(line, no_wrap=True))
        return self._spinner

    def __enter__(self) -> "Live":
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._live.stop()

    def tell(self, line: str) -> None:
        self._console.print(self._text(clean_line(line)))

    def update(self, status: Callable[[], str]) -> None:
        self._status = status


def display() -> AbstractContextManager[Plain | Live]:
    """Give the display that suits where stderr goes."""
    moves = sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    return Live() if moves else Plain()


# --- One run ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class Standing:
    """How a run stands, as its events tell it."""

    run: Run
    attempt: int
    doing: str = "starting"
    best: float | None = None
    feedback: str = ""

    def after(self, event: RunEvent) -> "Standing":
        """Give how the run stands after one more event."""
        best, feedback = self.best, self.feedback
        if event.event_type is EventType.SCORE_UPDATE:
            score = (event.metadata or {}).get("score")
            if isinstance(score, int | float):
                best = score if best is None else max(best, score)
            feedback = words.feedback(event)
        doing = event.stage.value if event.stage is not None else self.doing
        return attrs.evolve(self, attempt=event.attempt or self.attempt, doing=doing, best=best, feedback=feedback)

    def line(self, elapsed: timedelta) -> str:
        """Give the status line."""
        best = "no score yet" if self.best is None else f"best {self.best:.2f}"
        parts = [
            self.run.agent_name,
            f"attempt {self.attempt}/{self.run.max_attempts}",
            self.doing,
            f"{best} of {self.run.pass_threshold:g}",
            words.span(elapsed),
        ]
        return " · ".join([*parts, self.feedback] if self.feedback else parts)


class Watch:
    """Shows the events of one run as they come."""

    def __init__(self, store: "Storage", run: Run, display: Display, *, after: int = 0) -> None:
        self._store = store
        self._display = display
        self._after = after
        self._began = monotonic()
        self._standing = Standing(run, run.current_attempt, best=run.final_score)
        display.update(lambda: self._standing.line(self.elapsed))

    @property
    def elapsed(self) -> timedelta:
        """How long this has been watched."""
        return timedelta(seconds=monotonic() - self._began)

    async def keep_up(self) -> None:
        """Show events until cancelled; a store that does not answer is only asked again."""
        while True:
            await self.catch_up()
            await anyio.sleep(POLL_SECONDS)

    async def catch_up(self) -> None:
        """Show every event that is there and was not shown yet."""
        try:
            async for event in journal(self._store, self._standing.run.id, after=self._after):
                self._after = event.id
                self._standing = self._standing.after(event)
                self._display.tell(words.event(event))
        except StorageUnavailable:
            pass  # the work goes on; the events are shown when the store answers again
