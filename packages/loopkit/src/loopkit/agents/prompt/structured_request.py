"""Requests for JSON of an asked form, from servers that know tools, JSON Schema or neither.

With ``auto`` a model is asked by a tool, then with a JSON Schema, then in words. A server that refuses a form with 400
or 422, or answers without it, is asked in the next one, and each of these requests is one try of the stage. The form
that worked is remembered in the process, for every stage that asks the same model of the same server.

:func:`ask_for_json` is the one place where a model is asked for JSON: a caller says what it wants and how it is read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from loopkit.agents.context import StageContext
from loopkit.agents.error_text import printable
from loopkit.agents.prompt import json_answer
from loopkit.agents.prompt.booked_request import send_booked
from loopkit.agents.prompt.model_failure import ModelRefused
from loopkit.agents.prompt.model_request import (
    Endpoint,
    Form,
    FormUnsupported,
    JsonShape,
    Message,
    ModelAnswer,
)
from loopkit.agents.secret_values import without_secrets
from loopkit.core import strict_json
from loopkit.errors import StageError, StageFailed

__all__ = ["AUTO", "AnswerRejected", "AskedJson", "Question", "ask_for_json", "ask_for_text"]

AUTO: Final = "auto"

MAX_ANSWER_BYTES: Final = 4 * 1024
"""Most of a model's answer that is kept with the event of a failure."""

_AUTOMATIC: Final = (Form.TOOL, Form.JSON_SCHEMA, Form.TEXT)
_REFUSING_STATUSES: Final = frozenset({400, 422})

_working_forms: Final[dict[tuple[str | None, str], Form]] = {}
"""Form in which a model of a server has answered, by ``base_url`` and model."""


class AnswerRejected(StageFailed):
    """A model answered, and its answer cannot be used."""

    def __init__(
        self, reason: str, answer: ModelAnswer, *, next_form: Form | None = None, is_final: bool = False
    ) -> None:
        self.reason = reason
        """Predicate of a sentence about the answer, for the model and for people."""
        self.answer = answer
        self.next_form = next_form
        """Form of the next request; None: the one that is remembered, or the first."""
        self.said = _cut("\n".join(answer.arguments) or answer.text)
        """Beginning of what it said, in a form that can be quoted to it."""
        told = self.said if self.said.strip() else _cut(_calls_text(answer) or self.said)
        super().__init__(f"the model's answer {reason}", is_final=is_final, metadata={"answer": told} if told else None)


class _FormRefused(ModelRefused):
    """The server refused a request, perhaps only for its form; the next request has another one."""

    next_form: Form


@attrs.frozen(kw_only=True)
class AskedJson:
    """JSON object that is asked for, and how it is read."""

    shape: JsonShape
    read: Callable[[Mapping[str, Any]], Any]
    """Returns what the object means; raises ValueError with a predicate such as ``has no score``."""
    in_words: str
    """Instructions for a model that is asked in words."""
    judged_text: str | None = None
    """Text that is judged: an object that stands in it is not the model's own. None: nothing is judged."""


@attrs.frozen(kw_only=True)
class Question:
    """Conversation that is sent to a model, and what came of the try before."""

    endpoint: Endpoint
    messages: Sequence[Message]
    settings: Mapping[str, Any]
    failed_try: StageError | None = None
    context: StageContext | None = None
    """Context of the stage that asks, in whose book the request is written; None: it is not booked."""


async def ask_for_text(question: Question) -> ModelAnswer:
    """Ask for text and return the answer, which is not blank.

    Raises:
        StageFailed: there is no answer, or it is no text.
    """
    answer = await send_booked(question.context, question.endpoint, _with_correction(question), question.settings)
    _check_stopped(answer)
    if not answer.text.strip():
        raise AnswerRejected(_blank_reason(answer), answer)
    return answer


async def ask_for_json(question: Question, asked: AskedJson, *, structured: str = AUTO) -> tuple[Any, ModelAnswer]:
    """Ask for JSON; return what it means and the answer, with its usage.

    Raises:
        StageFailed: there is no answer, or it holds no JSON of the asked form.
    """
    form = _first_form(question, structured)
    while True:
        following = _following(question.endpoint, form, structured)
        try:
            answer = await _ask_in_form(question, asked, form)
        except FormUnsupported:
            if following is None:
                raise
            form = following  # no request was made, so this is the same try
        except ModelRefused as refused:
            if following is None or refused.status not in _REFUSING_STATUSES:
                raise
            error = _FormRefused(str(refused), status=refused.status, is_final=False)
            error.next_form = following
            raise error from None
        else:
            value = _read(answer, asked, form, following)
            _working_forms[question.endpoint.base_url, question.endpoint.model] = form
            return value, answer


async def _ask_in_form(question: Question, asked: AskedJson, form: Form) -> ModelAnswer:
    messages = _with_correction(question)
    if form in (Form.TEXT, Form.JSON_OBJECT):
        messages = with_instructions(messages, asked.in_words, at_end=True)
    return await send_booked(
        question.context, question.endpoint, messages, question.settings, shape=asked.shape, form=form
    )


def _first_form(question: Question, structured: str) -> Form:
    if structured != AUTO:
        return Form(structured)
    following = getattr(question.failed_try, "next_form", None)
    known = _working_forms.get((question.endpoint.base_url, question.endpoint.model), _AUTOMATIC[0])
    return following if isinstance(following, Form) else known


def _following(endpoint: Endpoint, form: Form, structured: str) -> Form | None:
    """Return the form to ask in where this one is refused or ignored; None: there is none, or this one has worked."""
    if structured != AUTO or form is _AUTOMATIC[-1] or _working_forms.get((endpoint.base_url, endpoint.model)) is form:
        return None
    return _AUTOMATIC[_AUTOMATIC.index(form) + 1]


def _read(answer: ModelAnswer, asked: AskedJson, form: Form, following: Form | None) -> Any:
    """Return what an answer means.

    Raises:
        AnswerRejected: it cannot be used; one without any JSON is asked for again in the following form.
    """
    _check_stopped(answer)
    if answer.is_cut_off:
        raise AnswerRejected("was cut off by max_tokens or by the model's own limit", answer, next_form=form)
    found = _find(answer, asked)
    if found is None:
        reason = "is not one clear JSON object of the asked form" if answer.text.strip() else _blank_reason(answer)
        if answer.arguments:
            is_broken = json_answer.parse_object(answer.arguments[0]) is None
            reason = "is not a JSON object" if is_broken else "holds more than one object of the asked form"
            following = None
        raise AnswerRejected(reason, answer, next_form=following or form)
    if asked.judged_text is not None and json_answer.stands_in(found, asked.judged_text):
        raise AnswerRejected("stands in the judged text, and is no judgement of it", answer, next_form=form)
    try:
        return asked.read(found)
    except ValueError as error:
        raise AnswerRejected(str(error), answer, next_form=form) from None


def _find(answer: ModelAnswer, asked: AskedJson) -> dict[str, Any] | None:
    """Return the one object of an answer, or None; words beside a call may say the same verdict, and no other."""

    def is_asked(value: Mapping[str, Any]) -> bool:
        try:
            asked.read(value)
        except ValueError:
            return False
        return True

    if not answer.arguments:
        return json_answer.find_object(answer.text, is_asked)
    called = json_answer.parse_object(answer.arguments[0]) if len(answer.arguments) == 1 else None
    is_judged = called is not None and asked.judged_text is not None
    beside = json_answer.objects_in(answer.text) if is_judged else ()
    return None if any(is_asked(value) and value != called for value in beside) else called


def _check_stopped(answer: ModelAnswer) -> None:
    if answer.refusal is not None:
        raise AnswerRejected(f"was refused: {printable(answer.refusal)[:500]}", answer, is_final=True)


def _blank_reason(answer: ModelAnswer) -> str:
    if answer.other_calls:
        names = ", ".join(name for name, _ in answer.other_calls)
        return f"holds no text, and calls tools that were not offered: {names[:200]}"
    return "holds no text" + (" before its limit of tokens (max_tokens)" if answer.is_cut_off else "")


def _calls_text(answer: ModelAnswer) -> str:
    return "\n".join(f"{name} {arguments}" for name, arguments in answer.other_calls)


def with_instructions(messages: Sequence[Message], text: str, *, at_end: bool = False) -> list[Message]:
    """Return the messages with instructions added to the system message that they begin with, or as one."""
    if messages and messages[0].role == "system":
        parts = [messages[0].text, text] if at_end else [text, messages[0].text]
        return [Message("system", "\n\n".join(parts)), *messages[1:]]
    return [Message("system", text), *messages]


def _with_correction(question: Question) -> list[Message]:
    """Return the messages, with the answer of the try before and what was wrong with it."""
    messages, failed = list(question.messages), question.failed_try
    if not isinstance(failed, AnswerRejected):
        return messages
    text = f"Your last answer could not be used: it {failed.reason}. Answer again, as you were asked."
    if failed.said.strip():
        return [*messages, Message("assistant", failed.said), Message("user", text)]
    if messages[-1].role == "user":  # two messages of one role in a row are refused by some servers
        return [*messages[:-1], Message("user", f"{messages[-1].text}\n\n{text}")]
    return [*messages, Message("user", text)]


def _cut(text: str) -> str:
    """Return the beginning of an answer as text that can be stored."""
    clean = printable(without_secrets(text[: 2 * MAX_ANSWER_BYTES]))
    return clean.encode()[:MAX_ANSWER_BYTES].decode(errors="ignore")


def json_instructions(schema: Mapping[str, Any]) -> str:
    """Return instructions to answer with JSON of a schema, for a model that is asked in words."""
    return (
        "Answer with one JSON object and nothing else: no words around it, no code fence. It must be valid for this "
        f"JSON Schema: {strict_json.dumps(schema)}"
    )
