"""Stages that ask a language model: a template is filled, sent, and the answer is the result.

Any OpenAI-compatible server is reached by ``base_url``, any provider that pydantic-ai knows by its name. That library
comes with the extra ``loopkit[llm]`` and is loaded by the first call. Requests are made in an event loop of their
own, in a daemon thread, so that it does not matter which kind of event loop runs the stages.
"""

import asyncio
import importlib.util
import os
import threading
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, cast

import attrs

from loopkit.agents.checks import integer, number, text
from loopkit.agents.context import StageContext
from loopkit.agents.template import Template
from loopkit.agents.threads import context_elsewhere, result_of
from loopkit.agents.wording import describe, kind_of
from loopkit.core import plain
from loopkit.core.run import Stage
from loopkit.errors import BadScore, InvalidConfig, StageFailed

__all__ = ["PromptStage"]

MAX_TEMPLATE_BYTES: Final = 1 << 20
MISSING_EXTRA: Final = "prompts need the extra llm: pip install 'loopkit[llm]'"
NO_KEY: Final = "none"
"""Sent where no key is configured: a local server wants none, and no other service's key may reach it."""

_JUDGING: Final = (
    "You judge the work you are shown. Answer with a score, a whole number from 0 (useless) to 10 (perfect), and "
    'feedback that says what to improve, as JSON: {"score": 7, "feedback": "..."}.'
)
_VERDICT: Final = {
    "type": "object",
    "properties": {
        "score": {"type": "integer", "minimum": 0, "maximum": 10},
        "feedback": {"type": "string", "description": "what to improve"},
    },
    "required": ["score", "feedback"],
    "additionalProperties": False,
}


def _check_model(_: object, attribute: Any, value: Any) -> None:
    text()(_, attribute, value)
    provider, _colon, name = value.partition(":")
    if not provider or not name:
        raise InvalidConfig('must be "provider:name"', key=attribute.name)


def _check_url(_: object, attribute: Any, value: Any) -> None:
    text()(_, attribute, value)
    if not value.startswith(("http://", "https://")):
        raise InvalidConfig("must begin with http:// or https://", key=attribute.name)


def _check_body(_: object, attribute: Any, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise InvalidConfig(f"must be a mapping, not {kind_of(value)}", key=attribute.name)
    for fault in plain.faults(value):
        raise InvalidConfig(str(fault), key=attribute.name)


def _optional(check: Any, **options: Any) -> Any:
    return attrs.field(default=None, validator=attrs.validators.optional(check), **options)


@attrs.frozen(kw_only=True, eq=False)
class PromptStage:
    """A stage that is a prompt to a language model."""

    prompt: str = attrs.field(validator=text(may_be_empty=False))
    """The template's file, relative to ``folder``."""
    model: str = attrs.field(validator=_check_model)
    """``provider:name``; with a ``base_url`` only the name counts."""
    base_url: str | None = _optional(_check_url)
    api_key_env: str | None = _optional(text(may_be_empty=False))
    """The environment variable that holds the key."""
    temperature: float | None = _optional(number(0, 10))
    max_tokens: int | None = _optional(integer(1))
    seed: int | None = _optional(integer(-(2**63), 2**63 - 1))
    extra_body: Mapping[str, Any] | None = _optional(_check_body, repr=False)
    """Added to the request's body as it is."""
    folder: Path

    @property
    def kind(self) -> str:
        return "prompt"

    @property
    def target(self) -> str:
        return f"{self.prompt} ({self.model})"

    @property
    def definition(self) -> str:
        try:
            template: str | None = self._template.text
        except StageFailed:
            template = None
        settings = [self.model, self.base_url, self.api_key_env, self.settings]
        return plain.dumps([self.prompt, template, *settings])

    @cached_property
    def _template(self) -> Template:
        """The template, read once: what runs is what the definition's digest was made of."""
        try:
            with (self.folder / self.prompt).open("rb") as file:
                content = file.read(MAX_TEMPLATE_BYTES + 1)
            if len(content) > MAX_TEMPLATE_BYTES:
                raise StageFailed(f"the template {self.prompt} is larger than {MAX_TEMPLATE_BYTES} bytes")
            return Template(content.decode("utf-8-sig"))
        except OSError as error:
            raise StageFailed(f"cannot read the template {self.prompt}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise StageFailed(f"the template {self.prompt} is not UTF-8") from error

    @property
    def settings(self) -> dict[str, Any]:
        """What goes with every request."""
        named = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "extra_body": self.extra_body,
        }
        return {name: value for name, value in named.items() if value is not None}

    def problem(self) -> str | None:
        try:
            _ = self._template
        except StageFailed as error:
            return str(error)
        return None if importlib.util.find_spec("pydantic_ai") else MISSING_EXTRA

    async def __call__(self, context: StageContext) -> object:
        asking = self._ask(self._template.fill(context), judging=context.stage is Stage.EVALUATING)
        future = context_elsewhere().run(asyncio.run_coroutine_threadsafe, asking, _event_loop())
        answer = await result_of(future)
        context.log(f"{self.model} answered", **answer.usage)
        if context.stage is Stage.EVALUATING:
            return _verdict(answer)
        if not answer.text:
            raise StageFailed("the model gave no text")
        if answer.is_cut_off:
            context.log("The answer was cut off: max_tokens, or all that the model can give")
        return answer.text

    async def _ask(self, question: str, *, judging: bool) -> "_Answer":
        key = os.environ.get(self.api_key_env, "") if self.api_key_env else None
        if key == "":
            raise StageFailed(f"the environment variable {self.api_key_env} (api_key_env) is not set")
        try:
            return await _request(self, key, question, _JUDGING if judging else None)
        except ImportError as error:
            raise StageFailed(f"{MISSING_EXTRA} ({describe(error)})") from error
        except Exception as error:  # noqa: BLE001  (of any provider's library; a key it may tell is taken out)
            message = f"the model did not answer: {describe(error)}"
            raise StageFailed(message.replace(key, "[key]") if key else message) from None


@attrs.frozen
class _Answer:
    text: str
    """What the model said, or the arguments of the tool that takes a verdict."""
    is_cut_off: bool
    usage: Mapping[str, Any]


async def _request(stage: PromptStage, key: str | None, question: str, instructions: str | None) -> _Answer:
    """Make one request; whatever goes wrong is raised as the libraries raise it."""
    from pydantic_ai.direct import model_request
    from pydantic_ai.messages import ModelRequest, SystemPromptPart, TextPart, ToolCallPart, UserPromptPart
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.tools import ToolDefinition

    parts: list[SystemPromptPart | UserPromptPart] = [UserPromptPart(question)]
    parameters = ModelRequestParameters()
    if instructions is not None:
        parts.insert(0, SystemPromptPart(instructions))
        tool = ToolDefinition(
            name="verdict", parameters_json_schema=_VERDICT, description="Takes the judgement.", kind="output"
        )
        parameters = ModelRequestParameters(output_mode="tool", output_tools=[tool], allow_text_output=False)
    async with _model(stage, key) as model:
        response = await model_request(
            model,
            [ModelRequest(parts=parts)],
            model_settings=cast(ModelSettings, stage.settings),
            model_request_parameters=parameters,
        )
    # Servers without tools answer a judge in text.
    said = [part.args_as_json_str() for part in response.parts if isinstance(part, ToolCallPart)]
    said = said[:1] or [part.content for part in response.parts if isinstance(part, TextPart)]
    usage = {"input_tokens": response.usage.input_tokens, "output_tokens": response.usage.output_tokens}
    return _Answer("".join(said), response.finish_reason == "length", usage)


def _model(stage: PromptStage, key: str | None) -> Any:
    from pydantic_ai.models import infer_model
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers import infer_provider_class
    from pydantic_ai.providers.openai import OpenAIProvider

    if stage.base_url is not None:
        provider = OpenAIProvider(base_url=stage.base_url, api_key=key or NO_KEY)
        provider.client.max_retries = 0  # the stage's own retries are told of; the library's are not
        return OpenAIChatModel(stage.model.partition(":")[2], provider=provider)
    if key is not None:
        return infer_model(stage.model, lambda name: cast(Any, infer_provider_class(name))(api_key=key))
    return infer_model(stage.model)


def _verdict(answer: _Answer) -> dict[str, Any]:
    """Read a verdict: a whole number in 0..10, divided by ten, and feedback."""
    if answer.is_cut_off:
        raise BadScore("invalid verdict: the model's answer was cut off")
    told = plain.loads(answer.text.strip().removeprefix("```json").removeprefix("```").removesuffix("```"))
    if not isinstance(told, dict):
        raise BadScore("invalid verdict: the model's answer is not a JSON object")
    score, feedback = told.get("score"), told.get("feedback")
    if not isinstance(score, int) or isinstance(score, bool) or not 0 <= score <= 10:
        raise BadScore("invalid verdict: its score is not a whole number in 0..10")
    if not isinstance(feedback, str):
        raise BadScore(f"invalid verdict: its feedback is {kind_of(feedback)}, not text")
    return {"score": score / 10, "feedback": feedback}


@cache
def _event_loop() -> asyncio.AbstractEventLoop:
    """The event loop of all requests of this process; nobody waits for it at exit."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="loopkit prompts", daemon=True).start()
    return loop
