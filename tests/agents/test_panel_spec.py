"""Panels as values: names, what is refused, and what an agent makes of them."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

import loopkit
from loopkit.agents.evaluators.panel_spec import made_by
from loopkit.errors import InvalidConfig, UnusableOption

PROMPT = loopkit.prompt("x.md", model="a:b")
SAMPLED = loopkit.prompt("x.md", model="a:b", samples=2)


def cites(ctx: loopkit.StageContext) -> bool:
    return True


def facts(ctx: loopkit.StageContext) -> float:
    return 1.0


class Styled:
    def __call__(self, ctx: loopkit.StageContext) -> float:
        return 1.0

    def method(self, ctx: loopkit.StageContext) -> float:
        return 1.0


def names(panel: loopkit.Panel) -> list[str | None]:
    return [part.name for _, part in panel.parts]


def agent(panel: Any, **settings: Any) -> loopkit.Agent:
    return loopkit.Agent(name="a", produce=lambda ctx: "text", evaluate=panel, **settings)


def test_default_names() -> None:
    """The callable, program or prompt file gives the name; equal ones are numbered, also beside a given name."""
    panel = loopkit.Panel(
        checks=[cites, loopkit.command(["/usr/bin/vale", "x"]), loopkit.stage(cites, timeout=5)],
        judges=[
            facts,
            partial(facts),
            loopkit.Judge(Styled()),
            Styled().method,
            loopkit.prompt("prompts/facts.md", model="a:b"),
            loopkit.Judge(facts, name="facts-2"),
            lambda ctx: 1.0,
        ],
    )
    assert names(panel) == [
        *("cites", "vale", "cites-2"),
        *("facts", "facts-3", "Styled", "method", "facts-4", "facts-2", "<lambda>"),
    ]
    assert panel.target == ", ".join(map(str, names(panel)))


WRONG: list[tuple[str, Any]] = [
    ("checks", loopkit.Panel),
    ("checks", lambda: loopkit.Panel(checks=cites)),  # type: ignore[arg-type]
    ("judges.1", lambda: loopkit.Panel(judges=[facts, 42])),  # type: ignore[list-item]
    ("checks.0", lambda: loopkit.Panel(checks=[loopkit.Judge(facts)])),  # type: ignore[list-item]
    ("judges.0", lambda: loopkit.Panel(judges=[lambda: 1.0])),  # type: ignore[list-item, misc]
    ("quorum", lambda: loopkit.Panel(judges=[loopkit.Judge(facts, weight=0)], quorum=1)),
    ("combine", lambda: loopkit.Panel(judges=[facts], combine="average")),  # type: ignore[arg-type]
    ("close", lambda: loopkit.Panel(judges=[facts], close=-0.1)),
    ("name", lambda: loopkit.Judge(facts, name="")),
    ("weight", lambda: loopkit.Judge(facts, weight=float("inf"))),
    ("weight", lambda: loopkit.Judge(facts, weight=10**400)),
    ("samples", lambda: loopkit.Judge(facts, samples=0)),
    ("criteria", lambda: loopkit.Judge(facts, criteria={"a": "b"})),
    ("criteria", lambda: loopkit.Judge(PROMPT, criteria={})),
    ("criteria.", lambda: loopkit.Judge(PROMPT, criteria={"": "b"})),
    ("criteria.a", lambda: loopkit.Judge(PROMPT, criteria={"a": {"weight": 2}})),
    ("criteria.a.mark", lambda: loopkit.Judge(PROMPT, criteria={"a": {"ask": "b", "mark": 2}})),
    ("criteria.a.weight", lambda: loopkit.Judge(PROMPT, criteria={"a": {"ask": "b", "weight": 0}})),
    ("close", lambda: loopkit.Judge(loopkit.prompt("x.md", model="a:b", samples=2, close=0.1))),
    ("ask", lambda: loopkit.Criterion("")),
    ("pass_mark", lambda: loopkit.Criterion("x", pass_mark=1.1)),
    ("pass_threshold", lambda: agent(loopkit.Panel(checks=[cites]), pass_threshold=0.01)),
    ("produce.samples", lambda: loopkit.Agent(name="a", produce=SAMPLED, evaluate=facts)),
]


@pytest.mark.parametrize(("key", "make"), WRONG, ids=[f"{number}-{key}" for number, (key, _) in enumerate(WRONG)])
def test_wrong_values_name_their_key(key: str, make: Any) -> None:
    """Each is an InvalidConfig."""
    with pytest.raises(InvalidConfig) as caught:
        make()
    assert caught.value.key == key


def test_a_nosy_prompt_is_refused_when_the_agent_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge of a panel may know inputs and output only, in each of its files; a lone prompt may know more."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nosy.md").write_text("{{ output }} {{ evaluation.score }}")
    (tmp_path / "good.md").write_text("{{ output }} {{ inputs.a }}")
    with pytest.raises(InvalidConfig, match="not evaluation") as caught:
        agent(loopkit.Panel(judges=[facts, loopkit.prompt("nosy.md", model="a:b")]))
    assert caught.value.key == "evaluate.judges.1.prompt"
    with pytest.raises(InvalidConfig, match="not evaluation"):
        agent(loopkit.Panel(judges=[loopkit.prompt("good.md", system="nosy.md", model="a:b")]))
    agent(loopkit.prompt("nosy.md", model="a:b", criteria={"plain": "Plain."}))
    agent(loopkit.Panel(judges=[loopkit.prompt("good.md", model="a:b")]))


def test_a_low_threshold_is_refused_at_submit() -> None:
    """The agent's own is checked when it is made, that of a run when it is submitted."""
    checked = agent(loopkit.Panel(checks=[cites]))
    with pytest.raises(UnusableOption, match="pass_threshold must be at least"):
        loopkit.new_run(checked, pass_threshold=0.01)
    with pytest.raises(UnusableOption, match="must be a number"):
        loopkit.new_run(checked, pass_threshold="x")  # type: ignore[arg-type]
    loopkit.new_run(checked, pass_threshold=0.02)
    loopkit.new_run(agent(loopkit.Panel(judges=[facts])), pass_threshold=0.0)


def test_the_digest_of_a_verdict_is_that_of_what_decides_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of a prompt, its model and its criteria do; weights, samples, names and timeouts do not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.md").write_text("{{ output }}")

    def digest(model: str = "a:b", criteria: Any = None, **settings: Any) -> str:
        spec = loopkit.prompt("p.md", model=model, timeout=settings.pop("timeout", None))
        return made_by(loopkit.Judge(spec, criteria=criteria, **settings).stage)

    first = digest()
    assert digest(weight=2, samples=3, name="x", timeout=5) == first
    asked = digest(criteria={"a": "b"})
    assert digest(criteria={"a": loopkit.Criterion("b", weight=2, pass_mark=0.5)}) == asked
    yes_no = digest(criteria={"a": loopkit.Criterion("b", answer="yes-no")})
    others = [digest("a:c"), asked, digest(criteria={"a": "c"}), yes_no]
    (tmp_path / "p.md").write_text("Judge {{ output }}")
    assert len({first, *others, digest()}) == 6


def test_a_change_of_the_panel_is_a_change_of_the_agent() -> None:
    """Its digest takes in weights, samples and rules too."""
    panels = [
        loopkit.Panel(judges=[facts]),
        loopkit.Panel(judges=[loopkit.Judge(facts, weight=2)]),
        loopkit.Panel(judges=[loopkit.Judge(facts, samples=2)]),
        loopkit.Panel(judges=[facts], combine="min"),
        loopkit.Panel(judges=[facts], checks=[cites]),
    ]
    assert len({agent(panel).definition for panel in panels}) == 5
    assert agent(loopkit.Panel(judges=[facts])).definition == agent(panels[0]).definition


def test_problems_name_the_check_or_judge() -> None:
    """The first that cannot be loaded is told."""
    problems = agent(loopkit.Panel(checks=[cites], judges=[loopkit.command(["./nowhere"])])).problems()
    assert problems == {"evaluate": "nowhere: there is no executable program './nowhere'"}


def test_a_criterion_may_be_written_as_in_a_file() -> None:
    """As a mapping of its keys, for judges and for lone prompts."""
    written: dict[str, Any] = {"a": {"ask": "b", "weight": 2, "answer": "yes-no"}, "c": "d"}
    expected = {"a": loopkit.Criterion("b", weight=2, answer="yes-no"), "c": loopkit.Criterion("d")}
    assert loopkit.Judge(PROMPT, criteria=written).criteria == expected
    body: Any = loopkit.prompt("facts.md", model="a:b", criteria=written).body
    assert body.criteria == expected
