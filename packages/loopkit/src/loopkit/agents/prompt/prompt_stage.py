"""Stages that are prompts: a template is filled and sent to a language model, and its answer is the result.

``base_url`` reaches any OpenAI-compatible server; a provider's name reaches any provider that pydantic-ai supports.
Each call makes one request: how often a failed one is made again is up to the retries of the stage.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import attrs

from loopkit.agents.context import StageContext, StagePlace, StageRole
from loopkit.agents.error_text import kind_of
from loopkit.agents.evaluators.criterion import Criterion, as_criteria
from loopkit.agents.prompt.conversation import Conversation, read_conversation
from loopkit.agents.prompt.criteria_judgement import asked_criteria, criteria_instructions
from loopkit.agents.prompt.judgement import JUDGE_INSTRUCTIONS, Fence, asked_verdict
from loopkit.agents.prompt.model_request import Endpoint, Form, Message, ModelAnswer, load_library
from loopkit.agents.prompt.output_object import asked_output, output_schema
from loopkit.agents.prompt.structured_request import (
    AUTO,
    AnswerRejected,
    Question,
    ask_for_json,
    ask_for_text,
    with_instructions,
)
from loopkit.agents.secret_values import add_secret_variable
from loopkit.agents.setting_checks import integer, number, text
from loopkit.agents.stages.threads import call_in_thread
from loopkit.agents.template import closed_inputs, declared_inputs
from loopkit.agents.usage.prices import read_prices
from loopkit.core import strict_json
from loopkit.core.run import Stage
from loopkit.errors import InvalidConfig, StageFailed

__all__ = ["MAX_SAMPLES", "PromptStage"]

MAX_SAMPLES: Final = 32

JUDGE_NAMES: Final = frozenset({"inputs", "output"})
"""Names that the prompt of a judge in a panel may have."""


def _check_model(_: object, attribute: Any, value: Any) -> None:
    models = value if isinstance(value, list | tuple) else [value]
    if not models:
        raise InvalidConfig("must name at least one model", key=attribute.name)
    for model in models:
        text()(_, attribute, model)
        provider, _colon, name = model.partition(":")
        if not provider or not name:
            raise InvalidConfig('must be "provider:name"', key=attribute.name)


def _check_output(_: object, attribute: Any, value: Any) -> None:
    if isinstance(value, Mapping) and value.get("type", "object") != "object":
        raise InvalidConfig("must be the JSON Schema of an object", key=attribute.name)
    output_schema(value)


def _check_url(_: object, attribute: Any, value: Any) -> None:
    text()(_, attribute, value)
    if not value.startswith(("http://", "https://")):
        raise InvalidConfig("must begin with http:// or https://", key=attribute.name)


def _check_structured(_: object, attribute: Any, value: Any) -> None:
    forms = [AUTO, *map(str, Form)]
    if value not in forms:
        raise InvalidConfig(f"must be one of {', '.join(forms)}", key=attribute.name)


def _check_body(_: object, attribute: Any, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise InvalidConfig(f"must be a mapping, not {kind_of(value)}", key=attribute.name)
    for fault in strict_json.faults(value):
        raise InvalidConfig(str(fault), key=attribute.name)


def _optional_field(check: Any, **options: Any) -> Any:
    return attrs.field(default=None, validator=attrs.validators.optional(check), **options)


@attrs.frozen(kw_only=True, eq=False)
class PromptStage:
    """A stage that is a prompt for a language model."""

    prompt: str | None = _optional_field(text(may_be_empty=False))
    """File of the template, relative to ``folder``."""
    messages: str | None = _optional_field(text(may_be_empty=False))
    """File of a list of messages, in place of ``prompt``."""
    system: str | None = _optional_field(text(may_be_empty=False))
    """File of a template with instructions that stand before everything else."""
    model: str | Sequence[str] = attrs.field(validator=_check_model)
    """``provider:name``; with a ``base_url`` the provider is ignored. Of a list the first is for the first draft or
    revision, and so on; the last is for all later ones."""
    base_url: str | None = _optional_field(_check_url)
    price: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    """Price in US dollars per million tokens: ``input``, ``output`` and ``cached``, or such a mapping by model."""
    api_key_env: str | None = _optional_field(text(may_be_empty=False))
    """Environment variable that holds the key."""
    temperature: float | None = _optional_field(number(0, 10))
    max_tokens: int | None = _optional_field(integer(1))
    seed: int | None = _optional_field(integer(-(2**63), 2**63 - 1))
    """Seed of the first draft or sample; each later one has the next."""
    extra_body: Mapping[str, Any] | None = _optional_field(_check_body, repr=False)
    """JSON that is added to the request's body."""
    structured: str = attrs.field(default=AUTO, validator=_check_structured)
    """Form in which a model is asked for JSON: ``auto``, or one of :class:`Form`."""
    output: Mapping[str, Any] | None = _optional_field(_check_output, repr=False)
    """JSON Schema of the object that is asked for; None: text."""
    criteria: Mapping[str, Criterion] | None = attrs.field(default=None, converter=as_criteria)
    """Criteria that a judge is asked for, by name; None: one score."""
    samples: int | None = _optional_field(integer(1, MAX_SAMPLES))
    """Times that a prompt which evaluates alone is asked; None: once."""
    close: float | None = _optional_field(number(0, 1))
    """Distance of the first score from the threshold up to which further samples are asked; None: always."""
    folder: Path
    place: StagePlace | None = attrs.field(default=None, repr=False)
    """Place in an agent, which the agent sets; None: it is not known."""

    default_retries: ClassVar[int] = 2
    """Tries after the first where none are set: models and their servers fail now and then."""

    def __attrs_post_init__(self) -> None:
        if (self.prompt is None) == (self.messages is None):
            raise InvalidConfig("must have exactly one of `prompt` and `messages`", key="prompt")
        if self.close is not None and self.samples is None:
            raise InvalidConfig("goes with `samples` only", key="close")
        if self.price is not None:
            read_prices(self.price, self._models)
        if self.api_key_env is not None:
            add_secret_variable(self.api_key_env)

    @property
    def kind(self) -> str:
        return "prompt"

    @property
    def target(self) -> str:
        return f"{self.prompt or self.messages} ({', '.join(self._models)})"

    @property
    def definition(self) -> str:
        try:
            texts: list[Any] | None = self._conversation.texts
        except StageFailed:
            texts = None
        settings = [self._models, self.base_url, self.api_key_env, self.settings, self.structured, self.output]
        if self.criteria is not None:
            settings.append({name: [criterion.ask, criterion.answer] for name, criterion in self.criteria.items()})
        return strict_json.dumps([self.prompt, self.messages, self.system, texts, *settings])

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of every request, without those that are not set."""
        named = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "extra_body": self.extra_body,
        }
        return {name: value for name, value in named.items() if value is not None}

    def for_agent(self, place: StagePlace) -> Self:
        """Return the stage as the one of an agent.

        Raises:
            InvalidConfig: a setting does not go with that place, or a judge's prompt names what it may not know.
        """
        key = place.key
        if place.role.judges and self.output is not None:
            raise InvalidConfig(
                "goes with produce and revise only; a judge is asked for a verdict", key=f"{key}.output"
            )
        if place.role.judges and not isinstance(self.model, str):
            raise InvalidConfig("may be a list for produce and revise only", key=f"{key}.model")
        for name in ("criteria", "samples", "close"):
            if not place.role.judges and getattr(self, name) is not None:
                raise InvalidConfig("goes with evaluate only", key=f"{key}.{name}")
        if place.role is StageRole.JUDGE:
            self._check_names(key)
        return attrs.evolve(self, place=place)

    def _check_names(self, key: str) -> None:
        """Check that a judge is shown nothing but inputs and output: earlier verdicts would bend its own.

        Raises:
            InvalidConfig: a template names something else.
        """
        try:
            names = self._conversation.names - JUDGE_NAMES
        except StageFailed:  # said by problem(), with the reason
            return
        if names:
            file_key = "prompt" if self.messages is None else "messages"
            reason = f"a judge may name `inputs` and `output` only, not {', '.join(sorted(names))}"
            raise InvalidConfig(reason, key=f"{key}.{file_key}")

    def problem(self) -> str | None:
        try:
            problem = self._conversation.problem(closed_inputs(self._schema))
        except StageFailed as error:
            return str(error)
        endpoints = (self._endpoint(model) for model in self._models)
        return problem or next((found for endpoint in endpoints if (found := endpoint.problem())), None)

    async def prepare(self) -> None:
        """Load the libraries that the requests need."""
        for model in self._models:
            await load_library(self._endpoint(model))

    async def __call__(self, context: StageContext) -> object:
        # Filling takes a second at most, which the event loop of all runs has not got.
        messages = await call_in_thread(partial(self._messages, context))
        model = self._model(context)
        question = Question(
            endpoint=self._endpoint(model),
            messages=messages,
            settings=self._settings(context),
            failed_try=context.failed_try,
            context=context,
        )
        try:
            result, answer = await self._ask(context, question)
        except AnswerRejected as rejected:
            self._log_answer(context, model, rejected.answer)
            raise
        self._log_answer(context, model, answer)
        return result

    async def _ask(self, context: StageContext, question: Question) -> tuple[Any, ModelAnswer]:
        if context.stage is Stage.EVALUATING:
            judged_text = _as_text(context.output)
            asked = asked_verdict(judged_text) if self.criteria is None else asked_criteria(self.criteria, judged_text)
        elif self.output is not None:
            asked = asked_output(self.output)
        else:
            answer = await ask_for_text(question)
            return answer.text, answer
        return await ask_for_json(question, asked, structured=self.structured)

    def _messages(self, context: StageContext) -> list[Message]:
        """Return the messages to send, for a judge with its instructions and a new fence around the judged text."""
        if context.stage is not Stage.EVALUATING:
            return self._conversation.fill(context, declared=self._declared)
        fence = Fence()
        messages = self._conversation.fill(context, declared=self._declared, fence=fence.around)
        instructions = JUDGE_INSTRUCTIONS if self.criteria is None else criteria_instructions(self.criteria)
        return with_instructions(messages, f"{instructions}\n\n{fence.instructions}")

    @cached_property
    def _conversation(self) -> Conversation:
        """The texts, read once, so that they are those in the definition's digest."""
        return read_conversation(self.folder, prompt=self.prompt, messages=self.messages, system=self.system)

    @property
    def _schema(self) -> Mapping[str, Any]:
        """JSON Schema of the inputs."""
        return {} if self.place is None else self.place.inputs

    @cached_property
    def _declared(self) -> frozenset[str]:
        return declared_inputs(self._schema)

    @property
    def _models(self) -> Sequence[str]:
        return [self.model] if isinstance(self.model, str) else list(self.model)

    def _model(self, context: StageContext) -> str:
        """Return the model of a draft or revision; a stage that makes all attempts of its agent counts on."""
        drafts = self.place.drafts if self.place is not None and self.place.role is StageRole.REVISE else 0
        return self._models[min(max(context.attempt - drafts, 1), len(self._models)) - 1]

    def _settings(self, context: StageContext) -> dict[str, Any]:
        number = context.attempt if context.stage is Stage.PRODUCING else context.sample
        if self.seed is None or number is None:
            return self.settings
        return {**self.settings, "seed": self.seed + number - 1}

    def _endpoint(self, model: str) -> Endpoint:
        price = None if self.price is None else read_prices(self.price, self._models).get(model)
        return Endpoint(model=model, base_url=self.base_url, api_key_env=self.api_key_env, price=price)

    def _log_answer(self, context: StageContext, model: str, answer: ModelAnswer) -> None:
        tokens = {"input_tokens": answer.usage.input_tokens, "output_tokens": answer.usage.output_tokens}
        context.log(f"{model} answered", **{name: count for name, count in tokens.items() if count is not None})
        if answer.is_cut_off and context.stage is not Stage.EVALUATING:
            context.log("The answer was cut off by max_tokens or by the model's own limit")


def _as_text(output: object) -> str:
    """Return an output as it stands in the artifact."""
    return output if isinstance(output, str) else strict_json.dumps(output)
