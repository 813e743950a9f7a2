"""Panels: scores, held scores, documents and feedback, against a recount by brute force over random panels."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.core.outcome import Evaluation
from loopkit.core.panel.panel_evaluation import evaluate_panel
from loopkit.core.panel.panel_feedback import BaseCriteria
from loopkit.core.panel.panel_results import CheckResult, JudgeResult, failing_judge, judge_result
from loopkit.core.panel.panel_rules import Combine, CriterionRule, JudgeRule, PanelRules, is_close
from loopkit.core.panel.verdict import Verdict, VerdictKind

NEARLY = 2e-9
"""Most that two ways of rounding at each step may differ."""


def verdict(name: str, score: float, *, sample: int = 1, feedback: str = "", **detail: Any) -> Verdict:
    """Return a verdict of a judge."""
    return Verdict(
        attempt=1,
        kind=VerdictKind.JUDGE,
        name=name,
        sample=sample,
        made_by="x",
        score=score,
        feedback=feedback,
        detail=detail,
    )


def plain_judge(name: str, *scores: float, weight: float = 1, feedback: str = "") -> JudgeResult:
    """Return the result of a judge that gives a score of its own."""
    verdicts = [verdict(name, score, sample=number, feedback=feedback) for number, score in enumerate(scores, 1)]
    return judge_result(JudgeRule(name=name, weight=weight), verdicts)


def asked_judge(
    name: str, rules: Mapping[str, CriterionRule], *samples: Mapping[str, tuple[float, str]], weight: float = 1
) -> JudgeResult:
    """Return the result of a judge that was asked for criteria."""
    verdicts = [
        verdict(
            name,
            0.0,
            sample=number,
            criteria={key: {"score": score, "feedback": why} for key, (score, why) in sample.items()},
        )
        for number, sample in enumerate(samples, 1)
    ]
    return judge_result(JudgeRule(name=name, weight=weight, criteria=rules), verdicts)


def evaluation(
    judges: Sequence[JudgeResult],
    checks: Sequence[CheckResult] = (),
    *,
    pass_threshold: float = 0.8,
    base: BaseCriteria | None = None,
    **rules: Any,
) -> Evaluation:
    """Return what a panel of these answers gives."""
    panel = PanelRules(checks=[check.name for check in checks], judges=[result.rule for result in judges], **rules)
    return evaluate_panel(panel, checks, judges, pass_threshold=pass_threshold, base=base)


# Random panels, and what they give by plain counting with fractions.

SHARES = st.integers(0, 5).map(lambda score: score / 5)
WEIGHTS = st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0])
CRITERIA = st.dictionaries(
    st.sampled_from("abc"),
    st.builds(CriterionRule, weight=WEIGHTS, pass_mark=st.none() | st.sampled_from([0.3, 0.5, 0.8])),
    max_size=3,
)


@st.composite
def judge_results(draw: st.DrawFn, name: str) -> JudgeResult:
    """Build the result of a judge: by criteria or by scores of its own, counted or not, with or without an error."""
    rule = JudgeRule(name=name, weight=draw(WEIGHTS | st.just(0.0)), criteria=draw(CRITERIA))
    count = draw(st.integers(1, 3))
    verdicts = [
        verdict(
            name,
            draw(st.floats(0, 1)),
            sample=number,
            criteria={key: {"score": draw(SHARES), "feedback": "why"} for key in rule.criteria},
        )
        for number in range(1, count + 1)
    ]
    return judge_result(rule, verdicts, draw(st.none() | st.just("broken")) if draw(st.booleans()) else None)


PANELS = st.integers(0, 4).flatmap(lambda count: st.tuples(*(judge_results(name=f"judge {n}") for n in range(count))))
CHECKS = st.lists(st.booleans(), max_size=4)


def fraction(number: float) -> Fraction:
    """Return a number as it is meant, without the error of its binary form."""
    return Fraction(str(number))


def oracle(
    judges: Sequence[JudgeResult], checks: Sequence[bool], threshold: float, combine: Combine
) -> tuple[Fraction, Fraction | None]:
    """Return score and raw score by counting."""
    if not all(checks):
        return fraction(threshold) / 2 * Fraction(sum(checks), len(checks)), None
    scores: list[tuple[Fraction, Fraction]] = []
    is_held = False
    for judge in judges:
        if judge.rule.weight == 0 or judge.error is not None:
            continue
        if judge.rule.criteria:
            top = bottom = Fraction(0)
            for criterion in judge.criteria:
                rule, mean = judge.rule.criteria[criterion.name], fraction(criterion.score)
                top, bottom = top + fraction(rule.weight) * mean, bottom + fraction(rule.weight)
                is_held |= rule.pass_mark is not None and criterion.score < rule.pass_mark
            score = top / bottom
        else:
            score = sum(map(fraction, judge.samples), Fraction(0)) / len(judge.samples)
        scores.append((score, fraction(judge.rule.weight)))
    if not scores:
        return Fraction(1), None
    values = sorted(score for score, _ in scores)
    middle = len(values) // 2
    match combine:
        case Combine.MEAN:
            raw = sum((score * weight for score, weight in scores), Fraction(0)) / sum(weight for _, weight in scores)
        case Combine.MIN:
            raw = values[0]
        case Combine.MEDIAN:
            raw = values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2
    return (min(raw, max(Fraction(0), fraction(threshold) - Fraction(1, 100))), raw) if is_held else (raw, None)


@given(PANELS, CHECKS, st.integers(2, 100).map(lambda cents: cents / 100), st.sampled_from(Combine))
def test_the_score_is_that_of_a_recount(
    judges: Sequence[JudgeResult], answers: Sequence[bool], threshold: float, combine: Combine
) -> None:
    """Score and raw score are those of counting by hand; a failed check or a missed mark never passes."""
    checks = [CheckResult(f"check {number}", ok) for number, ok in enumerate(answers)]
    made = evaluation(judges if all(answers) else [], checks, pass_threshold=threshold, combine=combine)
    score, raw = oracle(judges, answers, threshold, combine)
    assert made.score == pytest.approx(float(score), abs=NEARLY)
    assert made.score == round(made.score, 9)
    assert ("raw" in made) == (raw is not None)
    if raw is not None:
        assert made["raw"] == pytest.approx(float(raw), abs=NEARLY)
    if raw is not None or not all(answers):
        assert made.score < threshold


@given(PANELS, st.sampled_from(Combine))
def test_a_shadow_changes_nothing_but_its_own_row(judges: Sequence[JudgeResult], combine: Combine) -> None:
    """Without the judges of weight 0 everything is the same but what stands under their names."""
    counted = [judge for judge in judges if judge.rule.is_counted]
    whole, without = evaluation(judges, combine=combine), evaluation(counted, combine=combine)
    assert (whole.score, whole.feedback) == (without.score, without.feedback)
    names = {judge.rule.name for judge in counted}
    kept = {name: entry for name, entry in whole.rest.get("judges", {}).items() if name in names}
    assert {**whole.rest, "judges": kept} == {**without.rest, "judges": without.rest.get("judges", {})}


@given(PANELS, st.integers(1, 4))
def test_a_quorum_is_a_count_of_the_counted_judges_that_answered(judges: Sequence[JudgeResult], quorum: int) -> None:
    """The stage has the error of the first failed judge exactly when fewer than the quorum have answered."""
    rules = [judge.rule for judge in judges]
    counted = [judge for judge in judges if judge.rule.weight]
    failed = [judge for judge in counted if judge.error]
    for needed in {min(quorum, len(counted)), len(counted)}:
        panel = PanelRules(judges=rules, quorum=None if needed == len(counted) else needed)
        too_few = len(counted) - len(failed) < needed
        assert failing_judge(panel, judges) is (failed[0] if too_few else None)


@given(st.floats(0, 1), st.floats(0, 1), st.none() | st.floats(0, 1))
def test_close_is_the_distance_of_the_first_sample(first: float, threshold: float, close: float | None) -> None:
    """Further samples are asked for where the distance is at most ``close``, and always without it."""
    assert is_close(first, threshold, close) == (close is None or round(abs(first - threshold), 9) <= close)


@pytest.mark.parametrize(("first", "threshold", "close"), [(0.7, 0.8, 0.1), (0.9, 0.8, 0.1), (0.1, 0.4, 0.3)])
def test_the_edge_of_close_is_close(first: float, threshold: float, close: float) -> None:
    """A distance that floats miss by their last bit is on the edge all the same."""
    assert is_close(first, threshold, close)
    assert not is_close(first, threshold, close - 0.001)


# The document.


def test_failed_checks_are_all_that_is_said() -> None:
    """The score is half the threshold by the share that holds, and each failed check has a line."""
    checks = [
        CheckResult("sources", False, "no source"),
        CheckResult("prose", True, "fine"),
        CheckResult("size", False),
    ]
    made = evaluation([], checks, pass_threshold=0.9)
    assert made.score == 0.15
    assert made.feedback == "sources: no source\nsize: does not hold"
    assert made.rest == {
        "checks": {
            "sources": {"ok": False, "feedback": "no source"},
            "prose": {"ok": True, "feedback": "fine"},
            "size": {"ok": False, "feedback": ""},
        }
    }


def test_checks_alone_give_a_full_score() -> None:
    """With all checks holding and no counted judge the score is 1 and there is nothing to say."""
    shadow = plain_judge("other", 0.1, weight=0, feedback="bad")
    made = evaluation([shadow], [CheckResult("sources", True, "well")])
    assert (made.score, made.feedback) == (1.0, "")
    assert made["judges"] == {"other": {"score": 0.1, "weight": 0, "samples": [0.1], "feedback": "bad"}}


MARKED = {"supported": CriterionRule(weight=3, pass_mark=0.8), "plain": CriterionRule()}


def test_a_missed_mark_holds_the_score() -> None:
    """The score is held just under the threshold, and the document keeps what it would have been."""
    judge = asked_judge("facts", MARKED, {"supported": (0.6, "two claims are not"), "plain": (1.0, "clear")})
    made = evaluation([judge], pass_threshold=0.6)
    assert (made.score, made["raw"]) == (0.59, 0.7)
    assert made.feedback == "supported: two claims are not"
    criteria = {
        "supported": {"score": 0.6, "feedback": "two claims are not", "pass_mark": 0.8, "weight": 3},
        "plain": {"score": 1.0, "feedback": "clear", "weight": 1},
    }
    assert made["criteria"] == criteria
    assert made["judges"]["facts"] == {
        "score": 0.7,
        "weight": 1,
        "samples": [0.0],
        "feedback": "",
        "criteria": criteria,
    }


def test_a_criterion_is_the_mean_of_its_samples() -> None:
    """Two samples of 0.6 and 1 make 0.8, which meets the mark; the reason is that of the lower one."""
    judge = asked_judge(
        "facts",
        MARKED,
        {"supported": (1.0, "all"), "plain": (1.0, "")},
        {"supported": (0.6, "few"), "plain": (0.2, "no")},
    )
    made = evaluation([judge], pass_threshold=0.6)
    assert made["criteria"]["supported"] == {"score": 0.8, "feedback": "few", "pass_mark": 0.8, "weight": 3}
    assert (made.score, "raw" in made) == (0.75, False)


def test_criteria_of_several_judges_are_their_mean() -> None:
    """Only counted judges that have the criterion count, and each says its own line."""
    rule = {"plain": CriterionRule()}
    judges = [
        asked_judge("a", rule, {"plain": (0.6, "long words")}),
        asked_judge("b", rule, {"plain": (0.2, "long sentences")}, weight=3),
        asked_judge("c", rule, {"plain": (0.0, "never said")}, weight=0),
        plain_judge("d", 0.9, feedback="dull"),
    ]
    made = evaluation(judges)
    assert made["criteria"] == {"plain": {"score": 0.4, "feedback": "long sentences", "weight": 1}}
    assert made.feedback == "plain: long sentences\nplain: long words\nd: dull"


def test_a_lone_prompt_has_its_samples_at_the_top() -> None:
    """The document of a prompt that stands alone names no judge."""
    judge = asked_judge("facts", {"plain": CriterionRule()}, {"plain": (1.0, "clear")}, {"plain": (1.0, "clear")})
    made = evaluation([judge], is_lone=True)
    assert made.rest == {
        "criteria": {"plain": {"score": 1.0, "feedback": "clear", "weight": 1}},
        "samples": [0.0, 0.0],
    }


# The feedback.


def test_the_worst_comes_first() -> None:
    """Lines are in order of what they cost: a criterion its weight by its shortfall, a judge its weight by its own."""
    judges = [
        asked_judge(
            "facts",
            {"a": CriterionRule(weight=3), "b": CriterionRule(), "c": CriterionRule(weight=2), "full": CriterionRule()},
            {"a": (0.8, "nearly"), "b": (0.0, "nothing"), "c": (0.6, "half"), "full": (1.0, "all of it")},
        ),
        plain_judge("style", 0.3, weight=0.5, feedback="stiff"),
        plain_judge("content", 1.0, feedback="perfect"),
    ]
    assert evaluation(judges).feedback == "b: nothing\nc: half\na: nearly\nstyle: stiff"


def test_a_single_judge_is_quoted_as_it_is() -> None:
    """Without criteria there is nothing to order, and a shadow beside it does not matter."""
    shadow = plain_judge("other", 0.2, weight=0, feedback="bad")
    assert evaluation([plain_judge("style", 1.0, feedback="Fine.\nStay."), shadow]).feedback == "Fine.\nStay."


def test_criteria_that_an_evaluator_gives_itself_are_said_only_where_it_says_nothing_else() -> None:
    """They are shown, and their marks hold nothing."""
    given_criteria = {"length": {"score": 0.4, "feedback": "long", "pass_mark": 0.5}, "tone": 0.5, "odd": "x"}
    made = evaluation([judge_result(JudgeRule(name="own"), [verdict("own", 0.9, criteria=given_criteria)])])
    assert (made.score, made.feedback) == (0.9, "length: long")
    assert made["criteria"]["length"] == {"score": 0.4, "feedback": "long", "pass_mark": 0.5}
    assert list(made["criteria"]) == ["length", "tone"]


def test_a_reviser_hears_what_fell_below_the_base() -> None:
    """Criteria that were better in the revised attempt are named, also at the first revision."""
    judge = asked_judge("facts", {"a": CriterionRule(), "b": CriterionRule()}, {"a": (0.4, "worse"), "b": (1.0, "")})
    base = BaseCriteria(1, {"a": {"score": 0.8}, "b": 1.0, "gone": 1.0})
    assert evaluation([judge], base=base).feedback == (
        "a: worse\na fell from 0.80 in attempt 1 to 0.40: keep what was better there"
    )
    assert evaluation([judge]).feedback == "a: worse"
    assert evaluation([judge], base=BaseCriteria(1, None)).feedback == "a: worse"
