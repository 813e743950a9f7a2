"""Progress on stderr: one line for each event and, on a terminal, a status line below them that is updated in place."""

import os
import sys
from collections.abc import Callable
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
from loopkit.journal_reader import read_events
from loopkit_cli import display_text
from loopkit_cli.output import clean_line, note, shorten

if TYPE_CHECKING:
    from loopkit.storage import Storage

POLL_SECONDS: Final = 0.1
"""Seconds between two reads of the journal of a run that is worked here."""


class Display(Protocol):
    """Place where progress is shown."""

    def add_line(self, line: str) -> None:
        """Write a line that stays."""

    def add_lines(self, text: str) -> None:
        """Write each line of a text."""

    def update(self, status: Callable[[], str]) -> None:
        """Show the text that ``status`` returns as the status line, from now on."""


class PlainDisplay:
    """Lines on stderr, for pipes and files."""

    def __enter__(self) -> "PlainDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_line(self, line: str) -> None:
        note(clean_line(line))

    def add_lines(self, text: str) -> None:
        note(text)

    def update(self, status: Callable[[], str]) -> None:
        """Ignore the status: there is no line that could be updated."""


class TerminalDisplay:
    """Lines on a terminal with a spinner and a status line below them."""

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

    def __enter__(self) -> "TerminalDisplay":
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._live.stop()

    def add_line(self, line: str) -> None:
        self._console.print(self._text(clean_line(line)))

    def add_lines(self, text: str) -> None:
        for line in text.split("\n"):
            self.add_line(line)

    def update(self, status: Callable[[], str]) -> None:
        self._status = status


def display() -> AbstractContextManager[PlainDisplay | TerminalDisplay]:
    """Return the display that fits stderr: a terminal, or a pipe or file."""
    is_terminal = sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    return TerminalDisplay() if is_terminal else PlainDisplay()


@attrs.frozen
class RunProgress:
    """Progress of a run, computed from its events."""

    run: Run
    attempt: int
    doing: str = "starting"
    best: float | None = None
    feedback: str = ""

    def after(self, event: RunEvent) -> "RunProgress":
        """Return the progress after one more event."""
        best, feedback = self.best, self.feedback
        if event.event_type is EventType.SCORE_UPDATE:
            score = (event.metadata or {}).get("score")
            if isinstance(score, int | float):
                best = score if best is None else max(best, score)
            feedback = display_text.feedback(event)
        doing = event.stage.value if event.stage is not None else self.doing
        return attrs.evolve(self, attempt=event.attempt or self.attempt, doing=doing, best=best, feedback=feedback)

    def line(self, elapsed: timedelta) -> str:
        """Return the status line."""
        best = "no score yet" if self.best is None else f"best {self.best:.2f}"
        parts = [
            self.run.agent_name,
            f"attempt {self.attempt}/{self.run.max_attempts}",
            self.doing,
            f"{best} of {self.run.pass_threshold:g}",
            display_text.span(elapsed),
        ]
        return " · ".join([*parts, self.feedback] if self.feedback else parts)


class EventDisplay:
    """Display of the events of one run as they arrive."""

    def __init__(self, store: "Storage", run: Run, display: Display, *, after: int = 0) -> None:
        self._store = store
        self._display = display
        self._after = after
        self._began = monotonic()
        self._progress = RunProgress(run, run.current_attempt, best=run.final_score)
        display.update(lambda: self._progress.line(self.elapsed))

    @property
    def elapsed(self) -> timedelta:
        """Time since the display began."""
        return timedelta(seconds=monotonic() - self._began)

    async def keep_up(self) -> None:
        """Show events until cancelled; while the store does not respond, try again."""
        while True:
            await self.catch_up()
            await anyio.sleep(POLL_SECONDS)

    async def catch_up(self) -> None:
        """Show every stored event that was not shown yet."""
        try:
            async for event in read_events(self._store, self._progress.run.id, after=self._after):
                self._after = event.id
                self._progress = self._progress.after(event)
                self._display.add_line(display_text.event(event))
                for line in display_text.traceback_lines(event):
                    self._display.add_line(line)
        except StorageUnavailable:
            pass  # the run goes on; the events are shown when the store responds again
