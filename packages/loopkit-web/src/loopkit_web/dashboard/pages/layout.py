"""Parts that all pages share: the frame, the plan by which an open page updates itself, and tags and keys of forms."""

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from hashlib import sha256
from operator import attrgetter
from typing import Any, Final
from urllib.parse import quote

import attrs
from starlette.responses import HTMLResponse, Response

from loopkit.core.run import Run
from loopkit_web.dashboard.assets import asset_path
from loopkit_web.dashboard.markup.template_set import render
from loopkit_web.dashboard.pages.page_worker import in_worker
from loopkit_web.http.access import Permission
from loopkit_web.http.call import VARY, Call
from loopkit_web.http.endpoint import Form

__all__ = [
    "MAX_PAGE_BYTES",
    "RefreshPlan",
    "StreamKind",
    "form_key",
    "new_key",
    "page",
    "page_html",
    "run_facts",
    "segment",
    "unchanged",
]

_THEMES: Final = ("dark", "light")
_THEME_COOKIE: Final = "loopkit-theme"
MAX_PAGE_BYTES: Final = 1_000_000
"""Largest page that is sent. The bounds of its parts keep every page below it; in place of a larger one a sentence is
sent, with links to the whole."""
_MAX_TITLE: Final = 200
_HEARTBEAT_SECONDS: Final = 5
"""A newer heartbeat alone changes a page at most once in this many seconds."""


class StreamKind(StrEnum):
    """Event streams that a page may listen to."""

    RUN = "run"
    """Journal of one run."""
    LIST = "list"
    """Hints that some run has changed."""


@attrs.frozen(kw_only=True)
class RefreshPlan:
    """Plan by which an open page updates itself: the stream it listens to, and the part that it fetches again."""

    stream: str
    """URL of the event stream; "" if nothing can happen any more."""
    refresh: str
    """URL of the part that is fetched again."""
    active: bool
    """True if runs are in progress, so that polling often is worthwhile."""
    seconds: int
    """Polling interval while there is no stream."""
    kind: StreamKind = StreamKind.LIST
    events: str = ""
    """URL of further events."""

    @property
    def data(self) -> dict[str, str]:
        """The plan as ``data-`` attributes, which the script reads."""
        return {
            "kind": self.kind.value,
            "stream": self.stream,
            "refresh": self.refresh,
            "active": "1" if self.active else "",
            "seconds": str(self.seconds),
            "events": self.events,
        }


def page_html(call: Call, template: str, *, title: str, part: bool = False, **values: Any) -> str:
    """Return a page as HTML; with ``part`` only the parts of it that change while it is open."""
    theme = call.request.cookies.get(_THEME_COOKIE, "")
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
            "can_sign_out": _can_sign_out(call),
            "now": datetime.now(UTC),
        },
    )


def _can_sign_out(call: Call) -> bool:
    """Return whether the client is a browser that was signed in: an app with a token has a page to sign out."""
    has_page = any(endpoint.path == "/sign-out" for endpoint in call.site.table)
    return has_page and call.may(Permission.VIEW) and "authorization" not in call.request.headers


async def page(
    call: Call,
    template: str,
    *,
    title: str,
    part: bool = False,
    facts: tuple[Any, ...] = (),
    status: int = 200,
    **values: Any,
) -> Response:
    """Return the response with a page.

    A part has an ETag, computed from the facts that it shows, and is not sent again while they are the same. A whole
    page has none: its forms have keys of their own, so every response differs.
    """
    html = await in_worker(call, partial(_page_bytes, call, template, title=title, part=part, **values))
    if len(html) > MAX_PAGE_BYTES:
        short = {"title": title[:_MAX_TITLE], "part": part, "links": _api_links(call)}
        html = await in_worker(call, partial(_page_bytes, call, "too-large.html", **short))
    if not part:
        return HTMLResponse(html, status_code=status)
    return HTMLResponse(html, headers={"ETag": _part_tag(call, template, facts), "Vary": VARY})


def _api_links(call: Call) -> list[tuple[str, str]]:
    """Return the addresses of the API that have what the page shows, with their labels."""
    run_id = call.path.get("run_id")
    if run_id is None:
        return [("Runs as JSON", "/api/workflows"), ("Runners as JSON", "/api/runners")]
    id = segment(run_id)
    return [
        ("Run as JSON", f"/api/workflows?id={id}"),
        ("Events as JSON", f"/api/workflow-events?runId={id}"),
        ("Artifacts as JSON", f"/api/workflow-artifacts?runId={id}"),
    ]


def _page_bytes(call: Call, template: str, **values: Any) -> bytes:
    return page_html(call, template, **values).encode()


def unchanged(call: Call, template: str, facts: tuple[Any, ...]) -> Response | None:
    """Return a 304 response if the client has the part of a page with these facts; nothing is rendered for it."""
    return call.unchanged(_part_tag(call, template, facts))


def _part_tag(call: Call, template: str, facts: tuple[Any, ...]) -> str:
    return call.tag(template, call.request.url.query, repr(facts))


_shown_fields: Final = attrgetter(
    *("id", "status", "current_stage", "current_attempt", "final_score", "best_attempt", "error_message", "stalled"),
    *("claimed_at", "claimed_by", "cancel_requested_at", "started_at", "completed_at"),
    *("title", "tags", "end_reason"),
)


def run_facts(run: Run) -> tuple[Any, ...]:
    """Return the fields of a run that can change and are shown.

    A stage that logs much moves the heartbeat many times a second; its time is therefore rounded to five seconds.
    """
    seen = run.heartbeat_at
    return (*_shown_fields(run), None if seen is None else int(seen.timestamp() / _HEARTBEAT_SECONDS))


def form_key(form: Form, *parts: str) -> str | None:
    """Return the idempotency key of a submitted form: its own key together with what else must be the same.

    None if the form has no key.
    """
    key = form.get("key")
    return sha256("\0".join([key, *parts]).encode()).hexdigest() if key else None


def new_key() -> str:
    """Return a new idempotency key for one rendered form."""
    return secrets.token_hex(12)


def segment(text: str) -> str:
    """Return a value quoted as one segment of a path."""
    return quote(text, safe="")
