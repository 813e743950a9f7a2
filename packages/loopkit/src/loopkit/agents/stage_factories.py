"""Stages with options, made in Python: ``stage``, ``command`` and ``prompt``, with the keys of agents.yaml.

Each returns the same value as agents.yaml does, and an agent takes it wherever it takes a callable. Files are relative
to the working directory when the stage is made.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import attrs

from loopkit.agents.evaluators.criterion import AnyCriterion
from loopkit.agents.prompt.prompt_stage import PromptStage
from loopkit.agents.stage_spec import StageLike, StageSpec, as_spec
from loopkit.agents.stages.command import CommandStage

__all__ = ["command", "prompt", "stage"]


def stage(function: StageLike, /, *, timeout: float | timedelta | None = None, retries: int | None = None) -> StageSpec:
    """Return a stage that is a Python callable, with options.

    Args:
        function: sync or async callable of one argument, the stage context; or a stage whose options change.
        timeout: longest time of one try, in seconds or as a timedelta; None: no limit.
        retries: tries after the first; None: 0.

    Raises:
        InvalidConfig: it is not callable with one positional argument, or an option is out of its range.
    """
    return _with_options(as_spec(function), timeout, retries)


def command(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: str | os.PathLike[str] | None = None,
    stdout: Literal["jsonl"] | None = None,
    result: str | None = None,
    workdir: str | os.PathLike[str] | None = None,
    grace: float | timedelta | None = None,
    timeout: float | timedelta | None = None,
    retries: int | None = None,
) -> StageSpec:
    """Return a stage that is a program: one JSON document on stdin, the result on stdout.

    Args:
        argv: the program and its arguments; no shell reads them.
        env: variables that are added to the runner's environment without ``LOOPKIT_*``.
        stdin: file of a template that is written to stdin in place of the JSON document.
        stdout: ``"jsonl"``: each line becomes a log event, and the last JSON object holds the result; None: everything
            that is written to stdout is the result.
        result: JSON pointer to the result in the last object that has this place; None: ``/result`` of the last object.
        workdir: working directory of the program; None: the working directory when the stage is made.
        grace: time between SIGTERM and SIGKILL, in seconds or as a timedelta; None: 5 seconds.
        timeout: longest time of one try, in seconds or as a timedelta; None: no limit.
        retries: tries after the first; None: 0.

    Raises:
        InvalidConfig: an option cannot be used; ``key`` names it.
    """
    settings = _given(
        env=env, stdin=_path_text(stdin), stdout=stdout, result=result, workdir=_path_text(workdir), grace=grace
    )
    body = CommandStage(command=argv, folder=Path.cwd(), **settings)
    return _with_options(StageSpec(body), timeout, retries)


def prompt(
    file: str | os.PathLike[str] | None = None,
    *,
    messages: str | os.PathLike[str] | None = None,
    system: str | os.PathLike[str] | None = None,
    model: str | Sequence[str],
    price: Mapping[str, Any] | None = None,
    base_url: str | None = None,
    api_key_env: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    extra_body: Mapping[str, Any] | None = None,
    structured: str | None = None,
    output: Mapping[str, Any] | None = None,
    criteria: Mapping[str, AnyCriterion] | None = None,
    samples: int | None = None,
    close: float | None = None,
    timeout: float | timedelta | None = None,
    retries: int | None = None,
) -> StageSpec:
    """Return a stage that is a prompt for a language model.

    Args:
        file: file of the template.
        messages: file of a list of messages, in place of ``file``.
        system: file of a template with instructions that stand before everything else.
        model: ``provider:name``; with a ``base_url`` the provider is ignored. Of a list the first is for the first
            draft or revision, and so on; the last is for all later ones.
        price: price of the model in US dollars per million tokens, with the keys ``input``, ``output`` and, for tokens
            that were read from a cache, ``cached``; or such a mapping by model. None: the list price, and with a
            ``base_url`` none.
        base_url: address of an OpenAI-compatible server.
        api_key_env: environment variable that holds the key.
        temperature: temperature of the model's sampling.
        max_tokens: most tokens of the answer.
        seed: seed of the model's sampling.
        extra_body: JSON that is added to the request's body.
        structured: form in which JSON is asked for: ``auto``, ``tool``, ``json_schema``, ``json_object`` or ``text``.
        output: JSON Schema of the object that is asked for; None: text.
        criteria: criteria that a judge is asked for, each by itself, by name; a text asks for a score from 0 to 5.
        samples: times that a prompt which evaluates alone is asked; its score is the mean. None: once.
        close: distance of the first score from the pass threshold up to which further samples are asked; None: they
            are asked always.
        timeout: longest time of one try, in seconds or as a timedelta; None: no limit.
        retries: tries after the first; None: 2.

    Raises:
        InvalidConfig: an option cannot be used; ``key`` names it.
    """
    files = {"prompt": _path_text(file), "messages": _path_text(messages), "system": _path_text(system)}
    request = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed, "extra_body": extra_body}
    judgement = {"criteria": criteria, "samples": samples, "close": close}
    server = {"price": price, "base_url": base_url, "api_key_env": api_key_env}
    settings = _given(structured=structured, output=output, **server, **files, **request, **judgement)
    body = PromptStage(model=model, folder=Path.cwd(), **settings)
    return _with_options(StageSpec(body), timeout, retries)


def _given(**settings: Any) -> dict[str, Any]:
    """Return the settings that were given."""
    return {name: value for name, value in settings.items() if value is not None}


def _path_text(file: object) -> Any:
    """Return a path as text; what is not a path is left for the stage's own check."""
    return os.fspath(file) if isinstance(file, os.PathLike) else file


def _with_options(spec: StageSpec, timeout: float | timedelta | None, retries: int | None) -> StageSpec:
    return attrs.evolve(spec, **_given(timeout=timeout, retries=retries))
