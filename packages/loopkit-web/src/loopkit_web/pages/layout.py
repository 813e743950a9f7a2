"""What all pages share: the frame around them, and how much of a page is sent."""

import secrets
from datetime import UTC, datetime
from hashlib import sha256
from operator import attrgetter
from typing import Any, Final
from urllib.parse import quote

import attrs
from starlette.responses import HTMLResponse, Response

from loopkit.core.run import Run
from loopkit_web.assets import asset_path
from loopkit_web.context import Call
from loopkit_web.rendering.environment import render
from loopkit_web.routing import Form

__all__ = ["Live", "form_key", "new_key", "page", "page_html", "segment", "state_of", "unchanged"]

_THEMES: Final = ("dark", "light")
THEME_COOKIE: Final = "loopkit-theme"
_SEEN_SECONDS: Final = 5


@attrs.frozen(kw_only=True)
class Live:
    """How a page keeps itself up to date: what it listens to, and what it fetches again."""

    stream: str
    """Address of the event stream that tells when; "" where nothing more can happen."""
    refresh: str
    """Address of the part that is fetched again."""
    active: bool
    """Something is at work, so it is worth looking often."""
    seconds: int
    """How often it looks where there is no stream."""
    kind: str = "list"
    """``run`` where the stream is a run's journal, ``list`` where it gives hints."""
    events: str = ""
    """Address of further events."""

    @property
    def data(self) -> dict[str, str]:
        """Give it as attributes that the script reads."""
        return {
            "kind": self.kind,
            "stream": self.stream,
            "refresh": self.refresh,
            "active": "1" if self.active else "",
            "seconds": str(self.seconds),
            "events": self.events,
        }


def page_html(call: Call, template: str, *, title: str, part: bool = False, **values: Any) -> str:
    """Give a page as HTML, or with ``part`` what changes of it while it is open."""
    theme = call.request.cookies.get(THEME_COOKIE, "")
    return render(
        template,
        **{"nav": "", "live": None}
        | values
        | {
            "layout": "part.html" if part else "layout.html",
            "is_part": part,
            "title": title,
            "theme": theme if theme in _THEMES else "",
            "url": call.url,
            "asset": lambda name: call.url(asset_path(name)),
            "may": call.may,
            "actor": call.access.actor,
            "now": datetime.now(UTC),
        },
    )


def page(
    call: Call,
    template: str,
    *,
    title: str,
    part: bool = False,
    facts: tuple[Any, ...] = (),
    status: int = 200,
    **values: Any,
) -> Response:
    """Answer with a page. A part bears a tag of the facts it shows, and is not sent again while they are the same.

    A whole page bears no tag: its forms have keys of their own, so it is made anew each time.
    """
    if not part:
        return HTMLResponse(page_html(call, template, title=title, **values), status_code=status)
    html = page_html(call, template, title=title, part=True, **values)
    return HTMLResponse(html, headers={"ETag": _part_tag(call, template, facts)})


def unchanged(call: Call, template: str, facts: tuple[Any, ...]) -> Response | None:
    """Give the 304 where the client has the part of a page that these facts make, before anything is rendered."""
    return call.unchanged(_part_tag(call, template, facts))


def _part_tag(call: Call, template: str, facts: tuple[Any, ...]) -> str:
    return call.tag(template, call.request.url.query, repr(facts))


_state: Final = attrgetter(
    *("id", "status", "current_stage", "current_attempt", "final_score", "best_attempt", "error_message", "stalled"),
    *("claimed_at", "claimed_by", "cancel_requested_at", "started_at", "completed_at"),
)


def state_of(run: Run) -> tuple[Any, ...]:
    """Give what of a run can change and is shown.

    A talkative stage moves the heartbeat many times a second; of these, one in five seconds counts as a change.
    """
    seen = run.heartbeat_at
    return (*_state(run), None if seen is None else int(seen.timestamp() / _SEEN_SECONDS))


def form_key(form: Form, *parts: str) -> str | None:
    """Give the idempotency key of a form that was sent, made of its own key and what else must be the same."""
    key = form.get("key")
    return sha256("\0".join([key, *parts]).encode()).hexdigest() if key else None


def new_key() -> str:
    """Give an idempotency key for one rendered form."""
    return secrets.token_hex(12)


def segment(text: str) -> str:
    """Give a value as one segment of a path."""
    return quote(text, safe="")
