"""Panels in agents.yaml: what is loaded, and the file, line and key that each error names."""

from datetime import timedelta
from pathlib import Path

import pytest

import loopkit
from loopkit.agents.evaluators.panel_spec import LoneJudge, Panel
from loopkit.agents.prompt.prompt_stage import PromptStage
from loopkit.core.panel.panel_rules import CriterionRule
from loopkit.errors import InvalidConfig

HEAD = """\
agents:
  brief:
    max_attempts: 5
    produce: {python: "stages:produce"}
"""
WHOLE = (
    HEAD
    + """\
    evaluate:
      checks:
        - {name: sources, python: "checks:cites_sources"}
        - {name: prose, command: ["vale", "{output_file}"], timeout: 20, retries: 1}
      judges:
        - name: facts
          prompt: facts.md
          model: "anthropic:claude-sonnet-5"
          samples: 3
          criteria:
            supported: {ask: "Every claim is supported by the source.", weight: 3, pass_mark: 0.8}
            complete: {ask: "It names all three findings.", answer: yes-no}
            plain: "A newcomer understands it."
        - {name: style, python: "judges:style", weight: 0.5}
        - {name: other, prompt: facts.md, model: "google:gemini-3-pro", weight: 0}
      combine: median
      close: 0.1
      quorum: 1
"""
)


def write(folder: Path, text: str) -> Path:
    """Write an agents.yaml, with the prompt that its judges have."""
    (folder / "facts.md").write_text("Judge {{ output }} by {{ inputs.topic }}.")
    path = folder / "agents.yaml"
    path.write_text(text)
    return path


def evaluator(folder: Path, text: str) -> Panel:
    """Return the panel of the agent ``brief``."""
    panel = loopkit.load_agents(write(folder, text))["brief"].evaluate
    assert isinstance(panel, Panel)
    return panel


def refused(folder: Path, text: str) -> InvalidConfig:
    """Return the error of a file."""
    with pytest.raises(InvalidConfig) as caught:
        loopkit.load_agents(write(folder, text))
    return caught.value


def test_a_whole_panel(tmp_path: Path) -> None:
    """Each key of the page arrives where it belongs."""
    panel = evaluator(tmp_path, WHOLE)
    assert (panel.combine, panel.close, panel.quorum) == ("median", 0.1, 1)
    assert [(check.name, check.stage.kind, check.stage.retries) for check in panel.checks] == [
        ("sources", "python", 0),
        ("prose", "command", 1),
    ]
    assert panel.checks[1].stage.timeout == timedelta(seconds=20)
    assert [(judge.name, judge.weight, judge.samples, judge.stage.kind) for judge in panel.judges] == [
        ("facts", 1, 3, "prompt"),
        ("style", 0.5, 1, "python"),
        ("other", 0, 1, "prompt"),
    ]
    facts = panel.judges[0]
    assert facts.rule.criteria == {
        "supported": CriterionRule(weight=3, pass_mark=0.8),
        "complete": CriterionRule(),
        "plain": CriterionRule(),
    }
    assert isinstance(facts.stage.body, PromptStage)
    assert facts.stage.body.criteria == facts.criteria
    assert facts.criteria is not None
    assert [facts.criteria[name].answer for name in facts.criteria] == ["scale", "yes-no", "scale"]


def test_python_and_yaml_make_the_same_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same agent has the same digest, whichever way it was made."""
    loaded = loopkit.load_agents(
        write(
            tmp_path,
            HEAD
            + """\
    evaluate:
      checks: [{name: vale, command: [vale, "{output_file}"]}]
      judges:
        - {name: facts, prompt: facts.md, model: "x:m", samples: 2, criteria: {plain: Plain.}}
""",
        )
    )["brief"]
    monkeypatch.chdir(tmp_path)
    assert isinstance(loaded.evaluate, Panel)
    made = loopkit.Panel(
        checks=[loopkit.command(["vale", "{output_file}"])],
        judges=[loopkit.Judge(loopkit.prompt("facts.md", model="x:m"), samples=2, criteria={"plain": "Plain."})],
    )
    assert made.settings == loaded.evaluate.settings


def test_a_lone_prompt_with_criteria_or_samples_counts_as_one_judge(tmp_path: Path) -> None:
    """Its criteria, samples and close stand beside the prompt, and it may name all that an evaluator knows."""
    (tmp_path / "all.md").write_text("{{ attempt }} {{ evaluation.score }} {{ output }}")
    lone = 'evaluate: {prompt: all.md, model: "x:m", samples: 3, close: 0.2, criteria: {plain: Plain.}}'
    panel = evaluator(tmp_path, f"{HEAD}    {lone}\n")
    assert isinstance(panel, LoneJudge)
    assert (panel.judges[0].name, panel.judges[0].samples, panel.close) == ("all", 3, 0.2)
    assert (panel.kind, panel.target) == ("prompt", "all.md (x:m)")
    assert panel.rules.is_lone


def test_an_agent_without_a_panel_has_its_digest_of_before(tmp_path: Path) -> None:
    """A prompt without the new keys is a stage, whose definition has nothing of them."""
    text = f'{HEAD}    evaluate: {{prompt: facts.md, model: "x:m"}}\n'
    agent = loopkit.load_agents(write(tmp_path, text))["brief"]
    assert not isinstance(agent.evaluate, Panel)
    texts = '[null,["user","Judge {{ output }} by {{ inputs.topic }}."]]'
    definition = f'["facts.md",null,null,{texts},["x:m"],null,null,{{}},"auto",null]'
    assert agent.evaluate.settings == ["prompt", definition, None, 2]


JUDGE = '{name: facts, prompt: facts.md, model: "x:m"'
CHECK = '{name: sources, python: "c:d"}'
STYLE = '{name: style, python: "j:s"}'

WRONG = {
    "empty": ("{checks: [], judges: []}", "evaluate.checks", "needs at least one check or judge"),
    "no list": (f"{{checks: {CHECK}}}", "evaluate.checks", "must be a list"),
    "no name": ('{checks: [{python: "c:d"}]}', "evaluate.checks.0", "`name` is missing"),
    "null name": ('{judges: [{name: null, python: "c:d"}]}', "evaluate.judges.0", "`name` is missing"),
    "empty name": ('{checks: [{name: "", python: "c:d"}]}', "evaluate.checks.0.name", "1 to 100 printable"),
    "long name": (f'{{checks: [{{name: {"x" * 101}, python: "c:d"}}]}}', "evaluate.checks.0.name", "1 to 100"),
    "typed name": ('{checks: [{name: 5, python: "c:d"}]}', "evaluate.checks.0.name", "must be text, not a number"),
    "one name": (
        f'{{checks: [{CHECK}], judges: [{{name: sources, python: "j:s"}}]}}',
        "evaluate.judges.0.name",
        "another",
    ),
    "prompt check": (
        '{checks: [{name: a, prompt: facts.md, model: "x:m"}]}',
        "evaluate.checks.0",
        "exactly one of `python`",
    ),
    "misspelt checks": (
        f"{{check: [{CHECK}]}}",
        "evaluate.check",
        (
            "unknown key; did you mean `checks`? evaluate must have exactly one of `python`, `command`, `prompt` and "
            "`messages`, or `checks` and `judges` of a panel"
        ),
    ),
    "misspelt judges": (f"{{judge: [{STYLE}]}}", "evaluate.judge", "unknown key; did you mean `judges`?"),
    "misspelt python": ('{pyton: "m:f", timeout: 5}', "evaluate.pyton", "unknown key; did you mean `python`?"),
    "misspelt check": (
        "{checks: [{name: a, comand: [x]}]}",
        "evaluate.checks.0.comand",
        "unknown key; did you mean `command`? checks.0 must have exactly one of `python` and `command`",
    ),
    "nothing known": ("{x: 1}", "evaluate.x", "unknown key; evaluate must have exactly one of"),
    "check result": ("{checks: [{name: a, command: [x], stdout: jsonl}]}", "evaluate.checks.0.stdout", "unknown key"),
    "check weight": ("{checks: [{name: a, command: [x], weight: 2}]}", "evaluate.checks.0.weight", "unknown key"),
    "panel timeout": (f"{{checks: [{CHECK}], timeout: 5}}", "evaluate.timeout", "unknown key"),
    "panel and python": (f'{{checks: [{CHECK}], python: "a:b"}}', "evaluate.python", "unknown key"),
    "combine": (f"{{judges: [{STYLE}], combine: average}}", "evaluate.combine", "must be one of mean, median, min"),
    "close": (f"{{judges: [{STYLE}], close: 1.5}}", "evaluate.close", "must be in 0..1"),
    "quorum": (
        f"{{judges: [{STYLE}], quorum: 2}}",
        "evaluate.quorum",
        "at most the number of judges with a weight (1)",
    ),
    "no quorum": (f"{{judges: [{STYLE}], quorum: 0}}", "evaluate.quorum", "must be in 1.."),
    "weight": ('{judges: [{name: a, python: "c:d", weight: -1}]}', "evaluate.judges.0.weight", "must be 0 or more"),
    "weight NaN": (
        '{judges: [{name: a, python: "c:d", weight: .nan}]}',
        "evaluate.judges.0.weight",
        "must be 0 or more",
    ),
    "weight yes": ('{judges: [{name: a, python: "c:d", weight: yes}]}', "evaluate.judges.0.weight", "not a boolean"),
    "samples": ('{judges: [{name: a, python: "c:d", samples: 33}]}', "evaluate.judges.0.samples", "must be in 1..32"),
    "half samples": ('{judges: [{name: a, python: "c:d", samples: 1.5}]}', "evaluate.judges.0.samples", "whole number"),
    "python criteria": (
        '{judges: [{name: a, python: "c:d", criteria: {x: y}}]}',
        "evaluate.judges.0.criteria",
        "unknown key",
    ),
    "judge close": (f"{{judges: [{JUDGE}, close: 0.1}}]}}", "evaluate.judges.0.close", "unknown key"),
    "judge output": (f"{{judges: [{JUDGE}, output: {{}}}}]}}", "evaluate.judges.0.output", "unknown key"),
    "judge models": (
        '{judges: [{name: a, prompt: facts.md, model: ["x:m"]}]}',
        "evaluate.judges.0.model",
        "may be a list",
    ),
    "no criteria": (f"{{judges: [{JUDGE}, criteria: {{}}}}]}}", "evaluate.judges.0.criteria", "at least one criterion"),
    "no ask": (
        f"{{judges: [{JUDGE}, criteria: {{a: {{weight: 1}}}}}}]}}",
        "evaluate.judges.0.criteria.a",
        "`ask` is missing",
    ),
    "zero weight": (
        f"{{judges: [{JUDGE}, criteria: {{a: {{ask: b, weight: 0}}}}}}]}}",
        "evaluate.judges.0.criteria.a.weight",
        "must be greater than 0",
    ),
    "pass_mark": (
        f"{{judges: [{JUDGE}, criteria: {{a: {{ask: b, pass_mark: 2}}}}}}]}}",
        "evaluate.judges.0.criteria.a.pass_mark",
        "must be in 0..1",
    ),
    "answer": (
        f"{{judges: [{JUDGE}, criteria: {{a: {{ask: b, answer: yes}}}}}}]}}",
        "evaluate.judges.0.criteria.a.answer",
        "must be `scale` or `yes-no`",
    ),
    "criterion type": (
        f"{{judges: [{JUDGE}, criteria: {{a: 5}}}}]}}",
        "evaluate.judges.0.criteria.a",
        "must be a mapping",
    ),
    "lone close": ('{prompt: facts.md, model: "x:m", close: 0.1}', "evaluate.close", "goes with `samples` only"),
    "nosy judge": (
        '{judges: [{name: a, prompt: nosy.md, model: "x:m"}]}',
        "evaluate.judges.0.prompt",
        "not attempt, history",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_name_file_line_and_key(tmp_path: Path, case: str) -> None:
    """Each wrong value says what is wrong and where."""
    (tmp_path / "nosy.md").write_text("{{ output }} of {{ attempt }} after {{ history }}")
    text, key, reason = WRONG[case]
    error = refused(tmp_path, f"{HEAD}    evaluate: {text}\n")
    assert (error.file, error.line, error.key) == (str(tmp_path / "agents.yaml"), 5, f"agents.brief.{key}")
    assert reason in error.reason


def test_the_line_is_that_of_the_value(tmp_path: Path) -> None:
    """Deep in a panel, too."""
    assert refused(tmp_path, WHOLE.replace("weight: 0.5", "weight: x")).line == 18
    assert refused(tmp_path, WHOLE.replace("pass_mark: 0.8", "pass_mark: 8")).line == 15


@pytest.mark.parametrize(
    "text",
    [f"{{checks: [{CHECK}]}}", f"{{judges: [{JUDGE}, criteria: {{a: {{ask: b, pass_mark: 0.5}}}}}}]}}"],
)
def test_a_threshold_below_held_scores_is_refused(tmp_path: Path, text: str) -> None:
    """With checks or a binding pass mark, 0.02 is the lowest; a shadow's mark binds nothing."""
    low = f"{HEAD}    pass_threshold: 0.019\n    evaluate: {text}\n"
    error = refused(tmp_path, low)
    assert (error.line, error.key) == (5, "agents.brief.pass_threshold")
    assert "at least 0.02" in error.reason
    evaluator(tmp_path, low.replace("0.019", "0.02"))
    if "facts" in text:
        evaluator(tmp_path, low.replace("name: facts", "name: facts, weight: 0"))
