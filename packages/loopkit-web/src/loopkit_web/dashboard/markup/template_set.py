"""The templates, and the filters and functions they may call.

Autoescape is on for all templates, and no filter turns it off. Marks of direction end within the value that holds
them; with the filter ``e`` a value stays exactly as it is, for what a form sends back and what is copied.
"""

from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from loopkit import wire
from loopkit_web.dashboard.markup import charts, display_text
from loopkit_web.dashboard.markup.bidi_text import closed
from loopkit_web.dashboard.markup.text_allowance import cut

__all__ = ["render"]


def _make_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("loopkit_web.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: closed(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        keep_trailing_newline=False,
    )
    environment.filters |= {
        "clock": display_text.clock,
        "count": display_text.count,
        "cut": cut,
        "distance": display_text.distance,
        "duration": display_text.duration,
        "instant": wire.instant,
        "label": display_text.label,
        "mark": display_text.mark,
        "moment": display_text.moment,
        "number": display_text.number,
        "plain": display_text.plain,
        "score": display_text.score,
        "segment": lambda text: quote(text, safe=""),
        "signed": display_text.signed,
        "size": display_text.size,
    }
    environment.globals |= {
        "arcs": charts.arcs,
        "position": charts.position,
        "worker_command": display_text.worker_command,
    }
    return environment


_ENVIRONMENT: Final = _make_environment()


def render(template: str, **values: Any) -> str:
    """Return a template rendered as HTML.

    Raises:
        jinja2.UndefinedError: the template names a value that was not passed.
    """
    return _ENVIRONMENT.get_template(template).render(**values)
