"""Conversation of a prompt stage: templates read from its files, each the text of a turn."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, cast

import attrs

from loopkit.agents.config.yaml_document import read_document
from loopkit.agents.context import StageContext
from loopkit.agents.error_text import kind_of
from loopkit.agents.prompt.model_request import Message
from loopkit.agents.prompt.structured_request import with_instructions
from loopkit.agents.template import Template, read_template, read_text
from loopkit.errors import InvalidConfig, StageFailed

__all__ = ["Conversation", "read_conversation"]

_ROLES: Final = ("system", "user", "assistant")


@attrs.frozen
class Turn:
    """Message whose text is a template."""

    role: Literal["system", "user", "assistant"]
    template: Template


@attrs.frozen
class Conversation:
    """Turns to fill and send, and the instructions that stand before them."""

    turns: Sequence[Turn]
    system: Template | None

    @property
    def texts(self) -> list[Any]:
        """Everything that is sent, not yet filled, as plain JSON."""
        return [self.system and self.system.text, *([turn.role, turn.template.text] for turn in self.turns)]

    @property
    def names(self) -> frozenset[str]:
        """Values of a stage that its templates name."""
        return frozenset().union(*(template.names for template in self._templates))

    @property
    def _templates(self) -> list[Template]:
        return [*([self.system] if self.system else []), *(turn.template for turn in self.turns)]

    def problem(self, declared: frozenset[str] | None) -> str | None:
        """Return which inputs are named that the schema does not declare, or None."""
        return next((problem for template in self._templates if (problem := template.problem(declared))), None)

    def fill(
        self,
        context: StageContext,
        *,
        declared: frozenset[str] = frozenset(),
        fence: Callable[[str], str] | None = None,
    ) -> list[Message]:
        """Return the messages of a call.

        Raises:
            StageFailed: a template cannot be filled.
        """

        def text(template: Template) -> str:
            return template.fill(context, declared=declared, fence=fence)

        messages = [Message(turn.role, text(turn.template)) for turn in self.turns]
        return messages if self.system is None else with_instructions(messages, text(self.system))


def read_conversation(folder: Path, *, prompt: str | None, messages: str | None, system: str | None) -> Conversation:
    """Read the files of a prompt stage.

    Raises:
        StageFailed: one cannot be read, or is not what it must be.
    """
    before = None if system is None else read_template(folder, system)
    if prompt is not None:
        return Conversation([Turn("user", read_template(folder, prompt))], before)
    assert messages is not None
    try:
        return Conversation(_read_turns(read_text(folder, messages), messages), before)
    except InvalidConfig as error:
        raise StageFailed(str(error), is_final=True) from None


def _read_turns(text: str, file: str) -> list[Turn]:
    document = read_document(text, file)
    if not isinstance(document.root, list):
        raise document.fault((), f"must be a list of messages, not {kind_of(document.root)}")
    turns = []
    for index, item in enumerate(document.root):
        place = (str(index),)
        values = document.mapping(place, item, known={"role", "content"})
        role, content = values.get("role"), values.get("content")
        if role not in _ROLES:
            raise document.fault((*place, "role"), f"must be one of {', '.join(_ROLES)}")
        if not isinstance(content, str):
            raise document.fault((*place, "content"), f"must be text, not {kind_of(content)}")
        turns.append(Turn(cast(Any, role), Template(content, source=f"{file} (message {index + 1})")))
    if not any(turn.role == "user" for turn in turns):
        raise document.fault((), "must have at least one message of the role user")
    return turns
