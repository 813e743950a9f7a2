"""Titles that agents give to their runs: a text, a callable of the inputs, or a template in agents.yaml."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from loopkit.agents.context import StageContext
from loopkit.agents.error_text import kind_of
from loopkit.agents.template import Template, closed_inputs, declared_inputs
from loopkit.core import strict_json
from loopkit.core.labels.label_text import computed_title
from loopkit.core.run import Stage
from loopkit.errors import InvalidConfig, StageFailed

__all__ = ["RunTitle", "TitleTemplate", "check_run_title", "make_title", "title_of_file"]

RunTitle: TypeAlias = str | Callable[[Mapping[str, Any]], object]
"""Text, or callable that gets the inputs of a run and returns the text."""

_MARKS: Final = ("{{", "{%", "{#")


class TitleTemplate:
    """Template of titles, filled with the inputs of a run as the templates of prompts are.

    Raises:
        InvalidConfig: it is no template, or names something else than inputs.
    """

    def __init__(self, text: str) -> None:
        try:
            self._template = Template(text, allowed=("inputs",))
        except StageFailed as error:
            raise InvalidConfig(str(error), key="title") from error
        self._declared: frozenset[str] = frozenset()

    def check_inputs(self, schema: Mapping[str, Any]) -> None:
        """Check that the schema declares the inputs that are named; those that it declares may be missing in a run.

        Raises:
            InvalidConfig: it does not.
        """
        if problem := self._template.problem(closed_inputs(schema)):
            raise InvalidConfig(problem, key="title")
        self._declared = declared_inputs(schema)

    def __call__(self, inputs: Mapping[str, Any]) -> str:
        """Fill the template.

        Raises:
            StageFailed: a part that it names does not exist, or it takes too long.
        """
        context = StageContext(
            run_id="", agent_name="", cycle_id="", inputs=inputs, stage=Stage.PRODUCING, attempt=1, idempotency_key=""
        )
        return self._template.fill(context, declared=self._declared)


def title_of_file(text: object) -> RunTitle:
    """Return the title that stands in agents.yaml; only one with marks of a template needs Jinja2.

    Raises:
        InvalidConfig: it is not text, or a template that cannot be used.
    """
    if not isinstance(text, str):
        raise InvalidConfig(f"must be text, not {kind_of(text)}", key="title")
    return TitleTemplate(text) if any(mark in text for mark in _MARKS) else text


def check_run_title(_: object, attribute: Any, title: object) -> None:
    """Raise InvalidConfig if an agent cannot have that title."""
    if title is None or isinstance(title, str | TitleTemplate):
        return
    if not callable(title) or inspect.iscoroutinefunction(title):
        raise InvalidConfig(f"must be text or a sync callable of the inputs, not {kind_of(title)}", key=attribute.name)


def make_title(title: RunTitle | None, inputs: Mapping[str, Any]) -> str | None:
    """Return the title of a run with these inputs; None when there is none, or it cannot be made.

    A title is for people only: no run fails to be queued for want of one.
    """
    if title is None or isinstance(title, str):
        return computed_title(title)
    try:
        return computed_title(title(strict_json.copy(inputs)))
    except Exception:  # noqa: BLE001  (code of the user, who is not asked for a title)
        return None
