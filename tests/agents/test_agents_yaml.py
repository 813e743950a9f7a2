"""agents.yaml: what is loaded from it, and the place in the file that each error names."""

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from loopkit.agents.config.agents_yaml import MAX_FILE_BYTES, find_agent, load_agents
from loopkit.agents.prompt.prompt_stage import PromptStage
from loopkit.agents.stage_call import call_stage
from loopkit.agents.stage_spec import StageSpec
from loopkit.agents.stages.command import CommandStage
from loopkit.core.ledger.budget import Budget
from loopkit.core.outcome import Evaluated, Evaluation, Produced
from loopkit.core.policy import DEFAULT_POLICY, Policy, ReviseFrom, Stop
from loopkit.core.run import Stage
from loopkit.errors import InvalidConfig, UnknownAgent
from tests.agents.context_helpers import context

WHOLE = """\
agents:
  target_builder:
    description: Builds a target list from a thesis.
    max_attempts: 4
    pass_threshold: 0.85
    output_suffix: .txt
    inputs:
      type: object
      required: [thesis]
      properties:
        thesis: {type: string, title: Thesis, description: ...}
        since: {type: string, format: date, default: 2024-01-01}
    produce:  {python: "growth.targets:produce"}
    evaluate: {command: ["./score.sh", "-x"], timeout: 60, retries: 2, env: {MODE: fast}}
    revise:
      prompt: prompts/revise.md
      model: "provider:model"
      base_url: http://127.0.0.1:1/v1
      api_key_env: KEY
      temperature: 0
      max_tokens: 10
      seed: 3
      extra_body: {a: [1.5, null, true]}
      timeout: 0.5
"""
SHORT = """\
agents:
  a:
    produce: {python: "stages:produce"}
    evaluate: {python: "stages:evaluate"}
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "agents.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(path: Path) -> InvalidConfig:
    with pytest.raises(InvalidConfig) as caught:
        load_agents(path)
    return caught.value


def test_everything_in_the_file_is_in_the_agent(tmp_path: Path) -> None:
    """Every key of the format arrives where it belongs."""
    (agent,) = load_agents(write(tmp_path, WHOLE)).values()
    assert (agent.name, agent.description) == ("target_builder", "Builds a target list from a thesis.")
    assert (agent.max_attempts, agent.pass_threshold, agent.output_suffix) == (4, 0.85, ".txt")
    assert agent.checked_inputs({"thesis": "x"}) == {"thesis": "x", "since": "2024-01-01"}
    assert {name: (spec.kind, spec.target) for name, spec in agent.stages.items()} == {
        "produce": ("python", "growth.targets:produce"),
        "evaluate": ("command", "./score.sh -x"),
        "revise": ("prompt", "prompts/revise.md (provider:model)"),
    }
    evaluate, revise = agent.stage(Stage.EVALUATING), agent.stage(Stage.REVISING)
    assert (evaluate.timeout, evaluate.retries) == (timedelta(seconds=60), 2)
    assert (revise.timeout, revise.retries) == (timedelta(seconds=0.5), 2)
    assert isinstance(evaluate, StageSpec)
    assert isinstance(evaluate.body, CommandStage)
    assert isinstance(revise, StageSpec)
    assert (evaluate.body.env, evaluate.body.folder) == ({"MODE": "fast"}, tmp_path)
    assert isinstance(revise.body, PromptStage)
    assert revise.body.settings == {
        "temperature": 0,
        "max_tokens": 10,
        "seed": 3,
        "extra_body": {"a": [1.5, None, True]},
    }
    assert (revise.body.base_url, revise.body.api_key_env, revise.body.folder) == (
        "http://127.0.0.1:1/v1",
        "KEY",
        tmp_path,
    )


def test_a_policy_in_the_file(tmp_path: Path) -> None:
    """The keys of a policy make the agent's policy, and change its definition; without them there is none."""
    text = SHORT + "    max_attempts: 5\n"
    policy = "    drafts: 2\n    revise_from: best\n    max_losses: 0\n"
    policy += "    stop: {patience: 2, min_delta: 0.5, repeat: true}\n"
    policy += "    budget: {usd: 0.5, tokens: 80000, seconds: 900}\n"
    plain, agent = (load_agents(write(tmp_path, content))["a"] for content in (text, text + policy))
    assert agent.policy == Policy(
        drafts=2,
        revise_from=ReviseFrom.BEST,
        max_losses=0,
        stop=Stop(patience=2, min_delta=0.5, repeat=True),
        budget=Budget(usd=0.5, tokens=80_000, seconds=900),
    )
    assert plain.policy == DEFAULT_POLICY
    assert plain.definition != agent.definition
    assert (plain.definition.policy, agent.definition.policy) == ({}, agent.policy.document())


def test_what_is_not_in_the_file_has_its_default(tmp_path: Path) -> None:
    """An agent needs no more than two stages."""
    agent = load_agents(str(write(tmp_path, SHORT)))["a"]
    assert (agent.description, agent.max_attempts, agent.pass_threshold, agent.output_suffix) == ("", 3, 0.8, ".md")
    assert agent.inputs == {"type": "object"}
    assert agent.revise is None
    assert (agent.produce.timeout, agent.produce.retries) == (None, 0)


def test_the_order_of_the_file_is_kept_and_none_is_a_number_too(tmp_path: Path) -> None:
    """Agents come as they were written; a file may have none yet."""
    text = (
        SHORT
        + SHORT.removeprefix("agents:\n").replace("  a:", "  B:")
        + SHORT.removeprefix("agents:\n").replace("  a:", "  0:")
    )
    assert list(load_agents(write(tmp_path, text))) == ["a", "B", "0"]
    assert load_agents(write(tmp_path, "\ufeffagents: {}")) == {}


async def test_loaded_agents_work_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are relative to the file, wherever the program runs."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "loading_stages.py").write_text("def produce(ctx): return 'text'")
    (folder / "score.sh").write_text("#!/bin/sh\ncat > seen.json\necho 0.5\n")
    (folder / "score.sh").chmod(0o755)
    write(folder, 'agents: {a: {produce: {python: "loading_stages:produce"}, evaluate: {command: [./score.sh]}}}')
    monkeypatch.chdir(tmp_path)
    agent = load_agents(Path("config/agents.yaml"))["a"]
    monkeypatch.chdir("/")
    assert [spec.problem() for spec in agent.stages.values()] == [None, None]
    assert await call_stage(agent.produce, context()) == Produced("text")
    assert isinstance(agent.evaluate, StageSpec)
    assert await call_stage(agent.evaluate, context(Stage.EVALUATING)) == Evaluated(Evaluation(0.5))
    assert (folder / "seen.json").exists()
    del sys.modules["loading_stages"]


def test_the_definition_follows_the_file(tmp_path: Path) -> None:
    """The same text gives the same digest, in any folder; another stage another one."""
    (tmp_path / "other").mkdir()
    first = load_agents(write(tmp_path, WHOLE))["target_builder"].definition
    assert load_agents(write(tmp_path / "other", WHOLE))["target_builder"].definition == first
    changed = WHOLE.replace("MODE: fast", "MODE: slow")
    assert load_agents(write(tmp_path, changed))["target_builder"].definition != first


def test_agents_are_found_by_name(tmp_path: Path) -> None:
    """One that is not there is an error that names the file and those it has."""
    agents = load_agents(write(tmp_path, SHORT))
    assert find_agent(agents, "a") is agents["a"]
    with pytest.raises(UnknownAgent) as caught:
        find_agent(agents, "b", "agents.yaml")
    assert str(caught.value) == "there is no agent 'b' in agents.yaml; it has: a"


@pytest.mark.parametrize(
    ("more", "line", "key", "says"),
    [
        ("    bogus: 1", 5, "bogus", "unknown key"),
        ("    Max_attempts: 1", 5, "Max_attempts", "max_attempts"),
        ("    max_attempts: three", 5, "max_attempts", "whole number, not text"),
        ("    max_attempts: 2.5", 5, "max_attempts", "whole number"),
        ("    max_attempts: yes", 5, "max_attempts", "not a boolean"),
        ("    max_attempts:", 5, "max_attempts", "not nothing"),
        ("    max_attempts: 0", 5, "max_attempts", "1.."),
        ("\n\n    pass_threshold: 1.01", 7, "pass_threshold", "0..1"),
        ("    pass_threshold: .nan", 5, "pass_threshold", "0..1"),
        ("    pass_threshold: [0.5]", 5, "pass_threshold", "not a list"),
        ("    description: 2024-01-01\n    output_suffix: /x", 6, "output_suffix", "file name"),
        ("    description: [a]", 5, "description", "must be text"),
        ("    description: a\n    description: b", 6, "description", "duplicate key (first on line 5)"),
        ("    inputs: object", 5, "inputs", "must be a mapping"),
        ("    inputs:", 5, "inputs", "must be a mapping"),
        ("    inputs:\n      type: objekt", 6, "inputs.type", "objekt"),
        ("    inputs:\n      properties:\n        a: {minimum: low}", 7, "inputs.properties.a.minimum", "number"),
        ("    inputs:\n      $ref: http://example.com/x", 5, "inputs", "nothing is fetched"),
        ("    inputs:\n      properties:\n        a.b: {minimum: x}", 6, "inputs.properties.a.b.minimum", "number"),
        ("    inputs: {type: object, type: object}", 5, "inputs.type", "duplicate key"),
        ("    inputs: {minimum: 1" + "0" * 5000 + "}", 5, "inputs.minimum", "cannot be read as a value"),
        ("    inputs: {default: !!bool maybe}", 5, "inputs.default", "cannot be read as a value"),
        ("    inputs: {default: .inf}", 5, "inputs.default", "finite"),
        ('    inputs: {title: "\\0"}', 5, "inputs.title", "NUL"),
        ("    drafts: 0", 5, "drafts", "1.."),
        ("    drafts: 4", 5, "drafts", "at most max_attempts (3)"),
        ("    drafts: two", 5, "drafts", "whole number, not text"),
        ("    revise_from: first", 5, "revise_from", "`last` or `best`"),
        ("    max_losses: -1", 5, "max_losses", "0.."),
        ("    max_losses: 1.5", 5, "max_losses", "whole number"),
        ("    stop: 3", 5, "stop", "must be a mapping"),
        ("    stop:\n      patience: 0", 6, "stop.patience", "1.."),
        ("    stop: {patience: 1, min_delta: 2}", 5, "stop.min_delta", "0..1"),
        ("    stop: {min_delta: 0.1}", 5, "stop.min_delta", "goes with `patience` only"),
        ("    stop: {min_delta: 0, repeat: true}", 5, "stop.min_delta", "goes with `patience` only"),
        ("    stop: {repeat: 'yes'}", 5, "stop.repeat", "true or false"),
        ("    budget: 3", 5, "budget", "must be a mapping"),
        ("    budget:\n      usd: 0", 6, "budget.usd", "greater than 0"),
        ("    budget: {tokens: 0.5}", 5, "budget.tokens", "whole number"),
        ("    budget: {minutes: 1}", 5, "budget.minutes", "unknown key"),
        ("    stop: {patients: 1}", 5, "stop.patients", "unknown key"),
        ("    revise: x:y", 5, "revise", "must be a mapping"),
        ("    revise: {}", 5, "revise", "exactly one of"),
        ("    revise: {timeout: 1}", 5, "revise", "exactly one of"),
        ("    revise: {python: 'a:b', command: [a]}", 5, "revise", "exactly one of"),
        ("    revise: {python: a}", 5, "revise.python", "module:callable"),
        ("    revise: {python: [a]}", 5, "revise.python", "module:callable"),
        ("    revise: {python: 'a:b', env: {}}", 5, "revise.env", "unknown key"),
        ("    revise:\n      python: a:b\n      timeout: 0", 7, "revise.timeout", "greater than 0 s"),
        ("    revise: {python: 'a:b', timeout: .inf}", 5, "revise.timeout", "greater than 0 s"),
        ("    revise: {python: 'a:b', timeout: 5s}", 5, "revise.timeout", "number of seconds, not text"),
        ("    revise: {python: 'a:b', timeout: true}", 5, "revise.timeout", "number of seconds"),
        ("    revise: {python: 'a:b', timeout: null}", 5, "revise.timeout", "number of seconds"),
        ("    revise: {python: 'a:b', retries: -1}", 5, "revise.retries", "0.."),
        ("    revise: {python: 'a:b', retries: 1.0}", 5, "revise.retries", "whole number"),
        ("    revise: {command: ./score.sh}", 5, "revise.command", "list"),
        ("    revise:\n      command:\n        - a\n        - 5", 6, "revise.command", "list of strings"),
        ("    revise:\n      command: [a]\n      env:\n        A: 1", 8, "revise.env.A", "must be text"),
        ("    revise: {command: [a], env: {A: a, A: b}}", 5, "revise.env.A", "duplicate key"),
        ("    revise: {prompt: a.md}", 5, "revise", "`model` is missing"),
        ("    revise: {prompt: a.md, model: m}", 5, "revise.model", "provider:name"),
        ("    revise: {prompt: a.md, model: 'p:m', temperature: hot}", 5, "revise.temperature", "number"),
        ("    revise: {prompt: a.md, model: 'p:m', extra_body: []}", 5, "revise.extra_body", "mapping"),
        ("    revise: {prompt: a.md, model: 'p:m', modle: x}", 5, "revise.modle", "unknown key"),
    ],
)
def test_a_fault_is_told_with_file_line_and_key(tmp_path: Path, more: str, line: int, key: str, says: str) -> None:
    """Where it is, what it is, and what would do."""
    path = write(tmp_path, SHORT + more + "\n")
    error = refused(path)
    assert (error.file, error.line, error.key) == (str(path), line, f"agents.a.{key}")
    assert says in error.reason
    assert str(error).startswith(f"{path}:{line}: agents.a.{key}: ")


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("", None, None, "must be a mapping, not nothing"),
        ("# nothing but words", None, None, "must be a mapping, not nothing"),
        ("- a", 1, None, "must be a mapping, not a list"),
        ("just text", 1, None, "must be a mapping, not text"),
        ("{}", 1, None, "`agents` is missing"),
        ("agents:", 1, "agents", "must be a mapping, not nothing"),
        ("agents: [a]", 1, "agents", "must be a mapping, not a list"),
        ("agents: {}\nversion: 1", 2, "version", "unknown key"),
        ("agents: {a: {evaluate: {python: 'a:b'}}}", 1, "agents.a", "`produce` is missing"),
        ("agents: {a: {produce: {python: 'a:b'}}}", 1, "agents.a", "`evaluate` is missing"),
        ("agents:\n  a: null", 2, "agents.a", "must be a mapping"),
        (SHORT.replace("  a:", '  "":'), 2, "agents.", "must not be empty"),
        (SHORT.replace("  a:", '  "a\\nb":'), 2, "agents.a\nb", "printable"),
        (SHORT + SHORT.removeprefix("agents:\n"), 5, "agents.a", "duplicate key"),
        (SHORT.replace("  a:", "  ? [a]\n  :"), 2, "agents", "a key must be text"),
        ("agents: [}", 1, None, "is not valid YAML"),
        ("agents:\n\ta: b", 2, None, "is not valid YAML"),
        ("agents: {}\n---\nagents: {}", 2, None, "is not valid YAML"),
        ("agents: \0", None, None, "is not valid YAML"),
        ('agents: "\\ud800"', 1, None, "is not valid YAML"),
        ("agents: !!python/object/apply:os.system [ls]", 1, "agents", "is not allowed here"),
        ("agents: !!python/name:os.system x", 1, "agents", "is not allowed here"),
        ("agents: !!set {a}", 1, "agents", "is not allowed here"),
        ("agents: !!map text", 1, "agents", "is not allowed here"),
        ("agents: !secret x", 1, "agents", "is not allowed here"),
        (SHORT.replace("a:\n", "a: &a\n") + "  b: *a", 5, None, "alias *a"),
        (SHORT.replace("a:\n", "a:\n    <<: {max_attempts: 1}\n"), 3, "agents.a.<<", "unknown key"),
        (b"agents: {}\n# \xff", 2, None, "is not UTF-8"),
        ("[" * 100_000, 1, None, "nested more than 64 deep"),
        ("a:\n " + "- " * 100, 2, None, "nested more than 64 deep"),
    ],
)
def test_a_file_that_is_none_is_refused(
    tmp_path: Path, text: str | bytes, line: int | None, key: str | None, says: str
) -> None:
    """Not YAML, more than data, or not in the form: the error names the place."""
    error = refused(write(tmp_path, text))
    assert (error.line, error.key) == (line, key)
    assert says in error.reason


def test_a_file_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    """The command that makes one is named."""
    error = refused(tmp_path / "agents.yaml")
    assert str(error) == f"{tmp_path / 'agents.yaml'}: there is no such file; loopkit-cli init creates one"


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """A folder, and a file too large, are named as such."""
    assert refused(tmp_path).reason == "cannot be read: Is a directory"
    with (tmp_path / "agents.yaml").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert refused(tmp_path / "agents.yaml").reason == f"is larger than {MAX_FILE_BYTES} bytes"


def test_a_bomb_of_aliases_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    """A file of less than 1 kB cannot grow: the first alias ends the reading."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    path = write(tmp_path, "\n".join(lines))
    assert path.stat().st_size < 1_000
    assert (refused(path).line, refused(path).reason) == (2, "the alias *a0 is not allowed here")


def test_a_large_plain_file_is_accepted(tmp_path: Path) -> None:
    """Many agents are no bomb."""
    agent = SHORT.removeprefix("agents:\n")
    text = "agents:\n" + "".join(agent.replace("  a:", f"  a{number}:") for number in range(3_000))
    assert len(load_agents(write(tmp_path, text))) == 3_000


@pytest.mark.parametrize(
    ("schema", "key", "says"),
    [
        ("{type: string, default: NO}", "default", "is not of type 'string' (YAML reads NO as false; put it in quotes"),
        ("{type: string, default: 1.10}", "default", "is not of type 'string' (YAML reads 1.10 as 1.1; put it"),
        ("{type: string, default: 01234}", "default", "is not of type 'string' (YAML reads 01234 as 668; put it"),
        ("{type: string, default: 12:30:00}", "default", "(YAML reads 12:30:00 as 45000; put it in quotes"),
        ("{type: string, default: ~}", "default", "(YAML reads ~ as null; put it in quotes"),
        ("{type: string, default: 5}", "default", "is not of type 'string'"),
        ("{type: integer, default: many}", "default", "is not of type 'integer'"),
        ("{$ref: '#/properties/p', default: 1}", "default", "cannot be checked"),
        ("{type: string, format: date, default: tomorrow}", "default", "is not a 'date'"),
        ("{type: object, required: [b], default: {}}", "default", "is required"),
        ("{type: string, enum: [SE, NO]}", "enum.1", "is not text, as `type: string` asks (YAML reads NO as false"),
        ("{type: array, items: {type: string, enum: [off]}}", "items.enum.0", "(YAML reads off as false"),
    ],
)
def test_a_default_that_its_own_schema_refuses_is_known_at_load(
    tmp_path: Path, schema: str, key: str, says: str
) -> None:
    """With its line, and with what YAML 1.1 made of the text; not to everybody who leaves the input out."""
    text = SHORT + f"    inputs:\n      type: object\n      properties:\n        p: {schema}\n"
    error = refused(write(tmp_path, text))
    assert (error.line, error.key) == (8, f"agents.a.inputs.properties.p.{key}")
    assert says in error.reason


@pytest.mark.parametrize(
    "schema",
    [
        "{type: string, default: 'NO'}",
        "{type: boolean, default: no}",
        "{type: number, default: 1.10}",
        "{type: string, enum: ['NO', SE]}",
        "{enum: [NO, SE, ~]}",
        "{type: array, items: {type: string}, default: []}",
    ],
)
def test_defaults_and_choices_that_fit_are_taken(tmp_path: Path, schema: str) -> None:
    """What YAML reads as something else may be meant as such."""
    agents = load_agents(write(tmp_path, SHORT + f"    inputs: {{type: object, properties: {{p: {schema}}}}}\n"))
    agents["a"].checked_inputs({})


@pytest.mark.parametrize(
    ("key", "line", "says"),
    [
        ("description: NO", 5, "must be text, not a boolean (YAML reads NO as false; put it in quotes"),
        ("description: 1_000", 5, "(YAML reads 1_000 as 1000; put it in quotes"),
        ("description: 5", 5, "must be text, not a number"),
        ("max_attempts: yes", 5, "(YAML reads yes as true; put it in quotes"),
        ("max_attempts: 0", 5, "must be in 1..2147483647"),
        ("max_attempts: '3'", 5, "must be a whole number, not text"),
    ],
)
def test_an_error_of_a_type_names_what_yaml_made_of_the_text(tmp_path: Path, key: str, line: int, says: str) -> None:
    """The file says NO, and the error speaks of a boolean; a value that is printed as written needs no such words."""
    error = refused(write(tmp_path, SHORT + f"    {key}\n"))
    assert error.line == line
    assert says in error.reason
    assert ("YAML reads" in error.reason) == ("YAML reads" in says)
