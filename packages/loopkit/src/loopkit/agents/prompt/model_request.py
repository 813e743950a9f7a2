"""One request to a language model through pydantic-ai, and its answer.

The library comes with the extra ``loopkit[llm]`` and is imported in a thread, before the first stage that asks a
model. Requests are made in an event loop of their own, in a daemon thread, so that the stages may run on asyncio or
trio. The library's own retries are turned off: every request is a try of the stage, which the journal shows.
"""

import asyncio
import importlib.util
import os
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from functools import cache, partial
from typing import Any, Final, Literal, cast

import attrs

from loopkit.agents.error_text import clean_text, describe_error
from loopkit.agents.prompt.model_failure import ModelFailed, failure_of
from loopkit.agents.secret_values import without_secrets
from loopkit.agents.stages.threads import call_in_thread, copy_context_for_thread, wait_for_result
from loopkit.agents.usage.prices import Price
from loopkit.agents.usage.reported_usage import NO_USAGE, ReportedUsage, nanos_of, read_usage
from loopkit.core.ledger.calls import CallState
from loopkit.errors import StageFailed
from loopkit.url_display import without_secrets as display_url

__all__ = [
    "MISSING_EXTRA",
    "Endpoint",
    "Form",
    "FormUnsupported",
    "JsonShape",
    "Message",
    "ModelAnswer",
    "check_form",
    "load_library",
    "send",
]

MISSING_EXTRA: Final = "prompts need the package pydantic-ai-slim: install loopkit with the extra llm"

_NO_KEY: Final = "none"
"""Key that is sent where none is configured: a local server needs none, and must not get the key of another service."""
_NO_TAGS: Final = ("\0think\0", "\0/think\0")
"""Tags that no answer has. The library would cut reasoning out by its tags, but keeps reasoning that has no end."""
_REASONING: Final = re.compile(r"<(think|thinking)>")
_OPEN_REASONING: Final = re.compile(r"\s*<(think|thinking)>.*", re.DOTALL)
_END_OF_REASONING: Final = re.compile(r"\A.*?^[ \t]*</(think|thinking)>[ \t]*$", re.DOTALL | re.MULTILINE)
"""Reasoning whose first tag was part of the request, as the templates of some servers have it."""


_MISSING_KEY: Final = re.compile(r"Set the `(\w+)` environment variable or pass it via `\w+\(api_key=")
"""Beginning of what the library says where a provider has no key, in the terms of its own Python interface."""

_checked_forms: Final[set[tuple[str | None, str, "Form"]]] = set()
"""Forms in which a model can be asked, by ``base_url`` and model."""

_loaded_providers: Final[set[str]] = set()
"""Providers whose libraries are imported; the empty name stands for all servers with a ``base_url``."""


class Form(StrEnum):
    """Form in which a model is asked for JSON."""

    TOOL = "tool"
    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    TEXT = "text"


class KeyMissing(ModelFailed):
    """The environment has no key of a model's provider; no request was made."""

    state = CallState.FAILED

    def __init__(self, model: str, variable: str) -> None:
        super().__init__(
            f"there is no key for {model}: set the environment variable {variable}, or name another one in api_key_env",
            is_final=True,
        )


class FormUnsupported(StageFailed):
    """The library knows that the model cannot be asked in that form; no request was made."""


@attrs.frozen
class Message:
    """A turn of the conversation that is sent."""

    role: Literal["system", "user", "assistant"]
    text: str


@attrs.frozen(kw_only=True)
class JsonShape:
    """JSON object that a model is asked for."""

    name: str
    """Name of the tool that takes it, or of the schema."""
    description: str
    schema: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class ModelAnswer:
    """Answer of a model to one request."""

    text: str
    """Text without the model's reasoning."""
    arguments: Sequence[str]
    """JSON texts of the arguments of each call of the tool that takes the asked object, offered or not."""
    other_calls: Sequence[tuple[str, str]]
    """Names and arguments of the tools that were called and not offered."""
    is_cut_off: bool
    refusal: str | None
    """Why a content filter, or the model itself, stopped the answer; None where nothing did."""
    usage: ReportedUsage = NO_USAGE
    """Tokens that the server reported."""
    cost_nanos: int | None = None
    """Price in nano-dollars; None: not known."""


@attrs.frozen(kw_only=True)
class Endpoint:
    """Model, and the server that is asked for it."""

    model: str
    """``provider:name``; with a ``base_url`` the provider is ignored."""
    base_url: str | None
    api_key_env: str | None
    price: Price | None = None
    """Price of the model; None: the list price, and with a ``base_url`` none."""

    @property
    def server(self) -> str:
        """Name of the server for people, without secrets."""
        return f"the server of {self.model}" if self.base_url is None else display_url(self.base_url)

    def key(self) -> str | None:
        """Return the key to send, or None where no variable is named.

        Raises:
            StageFailed: the variable is not set, or no HTTP header can carry its value.
        """
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "")
        if not key:
            raise StageFailed(f"the environment variable {self.api_key_env} (api_key_env) is not set", is_final=True)
        if fault := key_fault(key):
            raise StageFailed(f"the environment variable {self.api_key_env} (api_key_env) {fault}", is_final=True)
        return key

    def problem(self) -> str | None:
        """Return why no request can be made from here, or None; nothing is sent."""
        if not all(map(importlib.util.find_spec, ("jinja2", "pydantic_ai", "openai"))):
            return MISSING_EXTRA
        try:
            key = self.key()
            client: Any = None if self.base_url is not None else getattr(build_model(self, key), "client", None)
        except StageFailed as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  (each provider raises its own)
            return without_secrets(f"the model {self.model} cannot be used: {clean_text(str(error), max_chars=500)}")
        used = getattr(client, "api_key", None)
        fault = key_fault(used) if isinstance(used, str) and key is None else None
        return f"the key of {self.model}'s provider {fault}" if fault else None


async def load_library(endpoint: Endpoint) -> None:
    """Import what a request to a model needs, in a thread: it takes seconds, which no try has to spend.

    Nothing is sent, and faults are left for the request.
    """
    provider = "" if endpoint.base_url is not None else endpoint.model.partition(":")[0]
    if provider not in _loaded_providers:
        with suppress(Exception):
            await call_in_thread(partial(_load_library, endpoint))
            _loaded_providers.add(provider)


def _load_library(endpoint: Endpoint) -> None:
    importlib.import_module("pydantic_ai.direct")
    build_model(endpoint, endpoint.key())


def key_fault(key: str) -> str | None:
    """Return why ``key`` cannot be sent in an HTTP header, or None."""
    if "\n" in key or "\r" in key:
        return "has a line end in it"
    if key != key.strip():
        return "begins or ends with a blank"
    return None if key.isascii() and key.isprintable() else "has a character that no HTTP header can carry"


async def check_form(endpoint: Endpoint, form: Form) -> None:
    """Check that the library can ask a model in a form; no request is made, and other faults are left for it.

    Raises:
        FormUnsupported: it cannot.
        StageFailed: the key is missing or cannot be sent.
    """
    place = (endpoint.base_url, endpoint.model, form)
    if form not in (Form.TOOL, Form.JSON_SCHEMA) or place in _checked_forms:
        return
    check = _check_in_own_loop(endpoint, endpoint.key(), form)
    await wait_for_result(copy_context_for_thread().run(asyncio.run_coroutine_threadsafe, check, _event_loop()))
    _checked_forms.add(place)


async def _check_in_own_loop(endpoint: Endpoint, key: str | None, form: Form) -> None:
    try:
        async with build_model(endpoint, key) as model:
            _check_form(model, form)
    except FormUnsupported:
        raise
    except Exception:  # noqa: BLE001  (the request itself says so)
        pass


async def send(
    endpoint: Endpoint,
    messages: Sequence[Message],
    settings: Mapping[str, Any],
    *,
    shape: JsonShape | None = None,
    form: Form = Form.TEXT,
) -> ModelAnswer:
    """Send one request and return the answer; when cancelled, close its connection.

    Raises:
        FormUnsupported: the model cannot be asked in that form.
        StageFailed: there is no answer.
    """
    key = endpoint.key()
    request = _send_in_own_loop(endpoint, key, messages, settings, shape, form)
    future = copy_context_for_thread().run(asyncio.run_coroutine_threadsafe, request, _event_loop())
    return await wait_for_result(future)


async def _send_in_own_loop(
    endpoint: Endpoint,
    key: str | None,
    messages: Sequence[Message],
    settings: Mapping[str, Any],
    shape: JsonShape | None,
    form: Form,
) -> ModelAnswer:
    try:
        async with build_model(endpoint, key) as model:
            if shape is not None:
                _check_form(model, form)
            return await _request(endpoint, model, messages, settings, shape, form)
    except StageFailed:
        raise
    except ImportError as error:
        raise StageFailed(f"{MISSING_EXTRA} ({describe_error(error)})", is_final=True) from error
    except Exception as error:  # noqa: BLE001  (each provider raises its own; a key in it is removed)
        failure = failure_of(error, endpoint.server)
        message = without_secrets(str(failure))
        failure.args = (message.replace(key, "[key]") if key else message,)
        raise failure from None


def build_model(endpoint: Endpoint, key: str | None) -> Any:
    """Return the library's model, whose client makes one request a call; errors are raised as the library does."""
    from pydantic_ai.models import infer_model
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers import infer_provider_class
    from pydantic_ai.providers.openai import OpenAIProvider

    if endpoint.base_url is not None:
        provider = OpenAIProvider(base_url=endpoint.base_url, api_key=key or _NO_KEY)
        model: Any = OpenAIChatModel(endpoint.model.partition(":")[2], provider=provider)
    elif key is not None:
        model = infer_model(endpoint.model, lambda name: cast(Any, infer_provider_class(name))(api_key=key))
    else:
        try:
            model = infer_model(endpoint.model)
        except Exception as error:
            if (named := _MISSING_KEY.match(str(error))) is None:
                raise
            raise KeyMissing(endpoint.model, named[1]) from None
    client: Any = getattr(model, "client", None)
    if isinstance(getattr(client, "max_retries", None), int):
        client.max_retries = 0
    return model


def _check_form(model: Any, form: Form) -> None:
    if form is Form.TOOL and not model.profile.get("supports_tools", True):
        raise FormUnsupported(f"{model.model_name} cannot be asked by a tool (structured: tool)", is_final=True)
    if form is Form.JSON_SCHEMA and not model.profile.get("supports_json_schema_output", False):
        raise FormUnsupported(f"{model.model_name} takes no JSON Schema (structured: json_schema)", is_final=True)


async def _request(
    endpoint: Endpoint,
    model: Any,
    messages: Sequence[Message],
    settings: Mapping[str, Any],
    shape: JsonShape | None,
    form: Form,
) -> ModelAnswer:
    from pydantic_ai.direct import model_request
    from pydantic_ai.messages import TextPart, ToolCallPart
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.output import OutputObjectDefinition
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.tools import ToolDefinition

    parameters, more = ModelRequestParameters(), dict[str, Any]()
    if shape is not None and form is Form.TOOL:
        schema = dict(shape.schema)
        tool = ToolDefinition(
            name=shape.name, parameters_json_schema=schema, description=shape.description, kind="output"
        )
        parameters = ModelRequestParameters(output_mode="tool", output_tools=[tool], allow_text_output=False)
    elif shape is not None and form is Form.JSON_SCHEMA:
        wanted = OutputObjectDefinition(json_schema=dict(shape.schema), name=shape.name, description=shape.description)
        parameters = ModelRequestParameters(output_mode="native", output_object=wanted)
    elif shape is not None and form is Form.JSON_OBJECT:
        more["extra_body"] = {"response_format": {"type": "json_object"}, **settings.get("extra_body", {})}
    vars(model)["profile"] = {**model.profile, "thinking_tags": _NO_TAGS}
    response = await model_request(
        model,
        _library_messages(messages),
        model_settings=cast(ModelSettings, {**settings, **more, "max_retries": 0}),
        model_request_parameters=parameters,
    )
    calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
    usage = _reported(response.usage)
    asked = None if shape is None else shape.name  # some servers call it when they are asked in words
    return ModelAnswer(
        text=without_reasoning("".join(part.content for part in response.parts if isinstance(part, TextPart))),
        arguments=[_arguments(call) for call in calls if call.tool_name == asked],
        other_calls=[(call.tool_name, _arguments(call)) for call in calls if call.tool_name != asked],
        is_cut_off=response.finish_reason == "length",
        refusal=_refusal(response),
        usage=usage,
        cost_nanos=_cost_nanos(endpoint, response, usage),
    )


def _reported(usage: Any) -> ReportedUsage:
    """Return the tokens of a response; the library has zeros where the server reported none.

    Counts that cannot be true count as none: the model has answered, and what that cost is not known.
    """
    if getattr(usage, "unmeasured_requests", 0) or not (usage.input_tokens or usage.output_tokens):
        return NO_USAGE
    try:
        return read_usage(usage)
    except ValueError:
        return NO_USAGE


def _cost_nanos(endpoint: Endpoint, response: Any, usage: ReportedUsage) -> int | None:
    if endpoint.price is not None:
        return endpoint.price.nanos(usage)
    if endpoint.base_url is not None or usage == NO_USAGE:
        return None
    try:
        return nanos_of(response.cost().total_price)
    except (LookupError, ValueError, AssertionError):  # a model that is not in the list
        return None


def _arguments(call: Any) -> str:
    """Return the arguments of a call as the model wrote them; the library would wrap those that are no JSON."""
    return call.args if isinstance(call.args, str) else str(call.args_as_json_str())


def _library_messages(messages: Iterable[Message]) -> list[Any]:
    """Return the messages as the library's: a request holds all that stands between two answers."""
    from pydantic_ai.messages import ModelRequest, ModelResponse, SystemPromptPart, TextPart, UserPromptPart

    built: list[Any] = []
    for message in messages:
        if message.role == "assistant":
            built.append(ModelResponse(parts=[TextPart(message.text)]))
            continue
        if not built or isinstance(built[-1], ModelResponse):
            built.append(ModelRequest(parts=[]))
        part = SystemPromptPart(message.text) if message.role == "system" else UserPromptPart(message.text)
        built[-1].parts.append(part)
    return built


def _refusal(response: Any) -> str | None:
    if response.finish_reason != "content_filter":
        return None
    details = response.provider_details or {}
    return str(details.get("refusal") or "a content filter stopped it")


def without_reasoning(text: str) -> str:
    """Return an answer without what the model wrote between tags of reasoning, or after one that has no end."""
    rest = _without_closed_reasoning(text)
    if "<think" not in rest.partition("</think")[0]:
        rest = _END_OF_REASONING.sub("", rest, count=1)
    rest = _OPEN_REASONING.sub("", rest) if _OPEN_REASONING.match(rest) else rest
    return rest if rest == text else rest.lstrip()


def _without_closed_reasoning(text: str) -> str:
    """Return a text without what stands between tags of reasoning; in linear time, whatever is not closed."""
    kept: list[str] = []
    begin = position = 0
    unclosed: set[str] = set()
    while tag := _REASONING.search(text, position):
        end_tag = f"</{tag[1]}>"
        end = -1 if tag[1] in unclosed else text.find(end_tag, tag.end())
        if end < 0:
            unclosed.add(tag[1])
            position = tag.end()
        else:
            kept.append(text[begin : tag.start()])
            begin = position = end + len(end_tag)
    return "".join((*kept, text[begin:]))


@cache
def _event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of all requests of this process; the interpreter does not wait for its thread at exit."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="loopkit prompts", daemon=True).start()
    return loop


os.register_at_fork(after_in_child=_event_loop.cache_clear)  # the thread of the loop does not live on in the child
