"""The templates and what they may call. Autoescape is on for all of them; there is no filter that turns it off."""

from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from loopkit import wire
from loopkit_web.rendering import charts, words

__all__ = ["render"]


def _make() -> Environment:
    environment = Environment(
        loader=PackageLoader("loopkit_web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        keep_trailing_newline=False,
    )
    environment.filters |= {
        "clock": words.clock,
        "count": words.count,
        "duration": words.duration,
        "instant": wire.instant,
        "label": words.label,
        "moment": words.moment,
        "number": words.number,
        "plain": words.plain,
        "score": words.score,
        "segment": lambda text: quote(text, safe=""),
        "signed": words.signed,
        "size": words.size,
    }
    environment.globals |= {"arcs": charts.arcs, "position": charts.position}
    return environment


_ENVIRONMENT: Final = _make()


def render(template: str, **values: Any) -> str:
    """Give a template as HTML."""
    return _ENVIRONMENT.get_template(template).render(**values)
