"""Stages with options, made in Python: the same values as agents.yaml makes, refused where they cannot work."""

import functools
import inspect
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

import loopkit
from loopkit.agents.config import stage_settings
from loopkit.errors import InvalidConfig


def write(ctx: loopkit.StageContext) -> str:
    return "text"


def judge(ctx: loopkit.StageContext) -> float:
    return 1.0


def test_a_stage_has_its_timeout_and_retries() -> None:
    """A timeout is seconds or a timedelta; what is not given is as without options."""
    spec = loopkit.stage(write, timeout=1.5, retries=2)
    assert (spec.timeout, spec.retries, spec.kind) == (timedelta(seconds=1.5), 2, "python")
    assert loopkit.stage(write, timeout=timedelta(minutes=1)).timeout == timedelta(minutes=1)
    assert loopkit.stage(write) == loopkit.StageSpec(write)


def test_options_of_a_stage_are_changed_by_a_further_call() -> None:
    """A program or prompt is taken where a callable is; options that are not given stay."""
    spec = loopkit.stage(loopkit.command(["true"], retries=3), timeout=5)
    assert (spec.kind, spec.timeout, spec.retries) == ("command", timedelta(seconds=5), 3)


PYTHON_AND_YAML: dict[str, tuple[Callable[[], loopkit.StageSpec], str]] = {
    "command": (
        lambda: loopkit.command(
            ["./score.sh", "-v"],
            env={"A": "b"},
            stdin=Path("ask.md"),
            stdout="jsonl",
            result="/item/text",
            workdir=Path("tree"),
            grace=timedelta(seconds=2),
            timeout=60,
            retries=1,
        ),
        (
            '{command: ["./score.sh", "-v"], env: {A: b}, stdin: ask.md, stdout: jsonl, result: /item/text, '
            "workdir: tree, grace: 2, timeout: 60, retries: 1}"
        ),
    ),
    "prompt": (
        lambda: loopkit.prompt(
            Path("p.md"),
            model="openai:m",
            base_url="http://127.0.0.1:1/v1",
            api_key_env="KEY",
            temperature=0.5,
            max_tokens=5,
            seed=3,
            extra_body={"a": 1},
            timeout=0.5,
        ),
        """{
        prompt: p.md, model: 'openai:m', base_url: 'http://127.0.0.1:1/v1', api_key_env: KEY, temperature: 0.5,
        max_tokens: 5, seed: 3, extra_body: {a: 1}, timeout: 0.5}""",
    ),
}


@pytest.mark.parametrize("kind", PYTHON_AND_YAML)
def test_python_and_agents_yaml_make_the_same_stage(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest of the agent, and with it everything that decides what its stages do, is equal."""
    monkeypatch.chdir(tmp_path)
    Path("p.md").write_text("Write.")
    make, text = PYTHON_AND_YAML[kind]
    config = tmp_path / "agents.yaml"
    config.write_text(f"agents:\n  a:\n    produce: {text}\n    evaluate: {text}\n")
    assert loopkit.Agent(name="a", produce=make(), evaluate=make()).definition == (
        loopkit.load_agents(config)["a"].definition
    )


@pytest.mark.parametrize("function", [loopkit.command, loopkit.prompt])
def test_the_keywords_are_the_keys_of_agents_yaml(function: Callable[..., object]) -> None:
    """A key that is added to one is added to the other."""
    kind = function.__name__
    more = stage_settings._EVALUATOR.prompt_keys if kind == "prompt" else frozenset[str]()
    keys = stage_settings._KIND_KEYS[kind] | stage_settings._COMMON_KEYS | more
    named = {"argv": "command", "file": "prompt"}
    assert {named.get(name, name) for name in inspect.signature(function).parameters} == keys


def test_files_are_relative_to_the_directory_in_which_the_stage_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later change of the directory changes nothing."""
    (tmp_path / "p.md").write_text("Write.")
    monkeypatch.chdir(tmp_path)
    spec = loopkit.prompt("p.md", model="local:m", base_url="http://127.0.0.1:1/v1")
    monkeypatch.chdir("/")
    assert spec.problem() is None


def two(ctx: object, other: object) -> str:
    return "text"


class Writer:
    def __call__(self) -> str:
        return "text"


WRONG: dict[str, Any] = {
    "two arguments": two,
    "none": lambda: "text",
    "keyword only": lambda *, ctx: "text",
    "an object": Writer(),
    "a class": Writer,
    "a partial": functools.partial(two, 1, 2),
    "a number": 42,
    "text": "module:callable",
    "a list": ["./score.sh"],
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("key", ["produce", "evaluate", "revise"])
def test_what_cannot_be_called_with_one_argument_is_refused_when_the_agent_is_made(name: str, key: str) -> None:
    """The error names the stage and says what would do."""
    stages: dict[str, Any] = {"produce": write, "evaluate": judge, key: WRONG[name]}
    with pytest.raises(
        InvalidConfig, match=rf"^{key}: must be (a )?callable (of|with) one .*the stage context"
    ) as error:
        loopkit.Agent(name="a", **stages)
    assert error.value.key == key
    with pytest.raises(InvalidConfig):
        loopkit.stage(WRONG[name])


@functools.wraps(two)
def wrapper(ctx: object) -> str:
    return two(ctx, None)


class Method:
    def write(self, ctx: object) -> str:
        return "text"

    def __call__(self, ctx: object, *, other: int = 0) -> str:
        return "text"


RIGHT: dict[str, Any] = {
    "a function": write,
    "a lambda": lambda ctx: "text",
    "a method": Method().write,
    "an object": Method(),
    "a partial": functools.partial(two, other=None),
    "a wrapper": wrapper,
    "any arguments": lambda *args, **options: "text",
    "a builtin without a signature": dict.fromkeys,
    "a class of one argument": str,
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_can_be_called_with_one_argument_is_taken(name: str) -> None:
    """Whatever kind of callable it is."""
    assert loopkit.Agent(name="a", produce=RIGHT[name], evaluate=judge).produce.kind == "python"


def test_an_imported_callable_of_the_wrong_arity_cannot_be_loaded(tmp_path: Path) -> None:
    """What an agent made in Python refuses at once, the check of a configuration says."""
    (tmp_path / "arity_stages.py").write_text("def write(ctx, other): return 'text'\n")
    config = tmp_path / "agents.yaml"
    stage = '{python: "arity_stages:write"}'
    config.write_text(f"agents:\n  a:\n    produce: {stage}\n    evaluate: {stage}\n")
    problem = loopkit.load_agents(config)["a"].produce.problem()
    assert problem == (
        "cannot load arity_stages:write: must be callable with one positional argument, the stage context: "
        "write takes (ctx, other) (missing a required argument: 'other')"
    )


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: loopkit.stage(write, timeout=0), "timeout"),
        (lambda: loopkit.stage(write, retries=-1), "retries"),
        (lambda: loopkit.command([]), "command"),
        (lambda: loopkit.command(["a"], env={"A=": "b"}), "env.A="),
        (lambda: loopkit.prompt("p.md", model="gpt"), "model"),
        (lambda: loopkit.prompt(5, model="openai:m"), "prompt"),  # type: ignore[arg-type]
        (lambda: loopkit.prompt("p.md", model="openai:m", temperature=-1), "temperature"),
    ],
)
def test_an_option_that_cannot_work_is_refused_with_its_key(make: Callable[[], object], key: str) -> None:
    """At once, where the stage is made."""
    with pytest.raises(InvalidConfig) as error:
        make()
    assert error.value.key == key


async def test_a_run_of_a_program_made_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program runs in the directory in which the stage was made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("from the file")
    agent = loopkit.Agent(name="a", produce=loopkit.command(["cat", "text"], timeout=60), evaluate=judge)
    monkeypatch.chdir("/")
    result = await loopkit.run(agent)
    assert (result.status, result.output) == (loopkit.RunStatus.PASSED, "from the file")
    assert attrs.asdict(agent.produce, recurse=False)["retries"] == 0
