"""The templates, and the filters and functions they may call.

Autoescape is on for all templates, and no filter turns it off.
"""

from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from loopkit import wire
from loopkit_web.dashboard.markup import charts, display_text
from loopkit_web.dashboard.markup.text_allowance import cut

__all__ = ["render"]


def _make_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("loopkit_web.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
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
    environment.globals |= {"arcs": charts.arcs, "position": charts.position}
    return environment


_ENVIRONMENT: Final = _make_environment()


def render(template: str, **values: Any) -> str:
    """Return a template rendered as HTML.

    Raises:
        jinja2.UndefinedError: the template names a value that was not passed.
    """
    return _ENVIRONMENT.get_template(template).render(**values)
