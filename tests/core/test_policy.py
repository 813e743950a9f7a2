"""Policies: their stored form, and the rules that decide by them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.core import machine
from loopkit.core.attempts import PastAttempt, best_attempt, is_flat
from loopkit.core.journal import ArtifactType, NewArtifact
from loopkit.core.ledger.budget import Budget, spent_sentence
from loopkit.core.ledger.spent import Spent
from loopkit.core.ledger.sums import NANOS_PER_USD, NO_SPENDING, Spending
from loopkit.core.ledger.unknowns import Unknowns
from loopkit.core.outcome import Evaluated, Evaluation, Produced
from loopkit.core.policy import DEFAULT_POLICY, Definition, Policy, ReviseFrom, Stop, policy_of, read_policy
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.core.stage_material import known_outcome, stage_material
from loopkit.errors import InvalidConfig

STOPS = st.builds(Stop, patience=st.none() | st.integers(1, 9), repeat=st.booleans()) | st.builds(
    Stop, patience=st.integers(1, 9), min_delta=st.floats(0, 1)
)
POLICIES = st.builds(
    Policy,
    drafts=st.integers(1, 9),
    revise_from=st.sampled_from(["last", "best"]),
    stop=STOPS,
    budget=st.builds(Budget, usd=st.none() | st.floats(0.001, 1), tokens=st.none() | st.integers(1, 9)),
    max_losses=st.integers(0, 9),
)

SPENT = st.builds(
    Spent,
    spending=st.builds(Spending, input_tokens=st.integers(0, 5), cost_nanos=st.none() | st.integers(0, NANOS_PER_USD)),
    unknowns=st.builds(Unknowns, unpriced=st.none() | st.just("a call to m"), unanswered=st.integers(0, 1)),
)


def output(number: int, content: str) -> NewArtifact:
    return NewArtifact(attempt=number, artifact_type=ArtifactType.OUTPUT, filename="x", content=content)


def attempt(number: int, score: float, content: str | None = None, **rest: Any) -> PastAttempt:
    """Return an attempt with an output and an evaluation."""
    return PastAttempt(number, output(number, content or f"o{number}"), Evaluation(score, f"f{number}", rest=rest))


def run_in(stage: Stage, number: int, policy: Mapping[str, Any], max_attempts: int = 9) -> Run:
    return Run(
        id="run_1",
        agent_name="a",
        cycle_id="c",
        status=RunStatus.RUNNING,
        current_stage=stage,
        current_attempt=number,
        max_attempts=max_attempts,
        pass_threshold=0.8,
        inputs={},
        created_at=datetime(2031, 1, 1, tzinfo=UTC),
        policy=policy,
    )


@given(POLICIES)
def test_a_policy_is_read_back(policy: Policy) -> None:
    """Its stored form has only what differs from the defaults, and means the same."""
    document = policy.document()
    assert read_policy(document) == policy
    assert (document == {}) == (policy == DEFAULT_POLICY)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must be an object"),
        ("text", "must be an object"),
        ({"drafts": 0}, "drafts: must be in 1.."),
        ({"drafts": True}, "drafts: must be a whole number"),
        ({"drafts": 1.5}, "drafts: must be a whole number"),
        ({"reviseFrom": "first"}, "reviseFrom: must be `last` or `best`"),
        ({"maxLosses": -1}, "maxLosses: must be in 0.."),
        ({"stop": []}, "stop: must be an object"),
        ({"stop": {"patience": 0}}, "stop.patience: must be in 1.."),
        ({"stop": {"patience": 1, "minDelta": 2}}, "stop.minDelta: must be in 0..1"),
        ({"stop": {"minDelta": 0.5}}, "stop.minDelta: goes with `patience` only"),
        ({"stop": {"repeat": 1}}, "stop.repeat: must be true or false"),
        ({"budget": {"usd": -1}}, "budget.usd: must be greater than 0"),
        ({"budget": {"minutes": 1}}, "budget.minutes: is not a key"),
        ({"stop": {"forever": 1}}, "stop.forever: is not a key"),
        ({"judge": {}}, "judge: is not a key"),
        ({"drafts": None}, "drafts: must not be null"),
        ({"stop": {"patience": None}}, "stop.patience: must not be null"),
    ],
)
def test_an_unusable_policy_is_named(document: Any, message: str) -> None:
    """The error names the stored key; where nothing can be refused any more, the default stands in."""
    with pytest.raises(InvalidConfig) as caught:
        read_policy(document)
    assert str(caught.value).startswith(message)
    assert policy_of(document) == DEFAULT_POLICY


def test_a_definition_is_its_digest() -> None:
    """It compares and prints as text, and hands on the policy, an empty one as none."""
    definition = Definition("abc", {"drafts": 2})
    assert (definition, f"{definition}") == ("abc", "abc")
    assert Definition.policy_in(definition) == {"drafts": 2}
    assert (
        Definition.policy_in(Definition("abc", {})) is Definition.policy_in("abc") is Definition.policy_in(None) is None
    )


@pytest.mark.parametrize(
    ("scores", "drafts", "patience", "min_delta", "flat"),
    [
        ([0.5], 1, 1, 0.0, False),
        ([0.5, 0.5], 1, 1, 0.0, True),
        ([0.5, 0.51], 1, 1, 0.0, False),
        ([0.5, 0.52], 1, 1, 0.02, True),
        ([0.1, 0.3], 1, 1, 0.2, True),  # 0.3 - 0.1 is a little more than 0.2 in binary
        ([0.5, 0.521], 1, 1, 0.02, False),
        ([0.5, 0.4, 0.6], 1, 2, 0.0, False),
        ([0.5, 0.4, 0.5], 1, 2, 0.0, True),
        ([0.5, 0.515, 0.53], 1, 2, 0.02, False),  # each a little, together more
        ([0.5, 0.4, 0.3], 2, 2, 0.0, False),  # the second is a draft
        ([0.5, 0.4, 0.3, 0.2], 2, 2, 0.0, True),
        ([0.5, 0.4, 0.3, 0.2], 1, None, 0.0, False),
    ],
)
def test_a_plateau(scores: Sequence[float], drafts: int, patience: int | None, min_delta: float, flat: bool) -> None:
    """The newest ``patience`` attempts are revisions, and none is better than all before them by ``min_delta``."""
    policy = Policy(drafts=drafts, stop=Stop(patience=patience, min_delta=min_delta if patience else 0.0))
    attempts = [attempt(number, score) for number, score in enumerate(scores, 1)]
    assert is_flat(policy, attempts) is flat
    run = run_in(Stage.EVALUATING, len(scores), policy.document())
    change = machine.advance(run, Evaluated(Evaluation(scores[-1])), attempts=attempts[:-1])
    assert (change.then.reason == "plateau") is flat
    assert change.then.status is (RunStatus.FAILED if flat else RunStatus.RUNNING)
    assert (change.then.error_message is None) is not flat


def test_a_plateau_compares_what_was_not_held_down() -> None:
    """``raw`` is compared where an evaluation has it, since a held score is the same for better and worse outputs."""
    policy = Policy(stop=Stop(patience=1))
    assert not is_flat(policy, [attempt(1, 0.79, raw=0.81), attempt(2, 0.79, raw=0.9)])
    assert is_flat(policy, [attempt(1, 0.79, raw=0.9), attempt(2, 0.79, raw=0.81)])
    assert not is_flat(policy, [attempt(1, 0.5, raw=10**400), attempt(2, 0.6)])  # another program's, which is no float


@given(st.lists(st.tuples(st.floats(0, 1), SPENT), min_size=1, max_size=8), POLICIES, st.integers(1, 8))
def test_a_policy_ends_runs_sooner_and_never_later(
    judged: list[tuple[float, Spent]], policy: Policy, max_attempts: int
) -> None:
    """A run with a policy ends at the same attempt as without, or before; passing outweighs it; patience postpones.

    So does a larger budget; and of a spent budget and a plateau the budget is told.
    """
    scores = [score for score, _ in judged]

    def end(policy: Policy) -> tuple[int, str | None]:
        attempts: list[PastAttempt] = []
        spending = NO_SPENDING
        for number, score in enumerate(scores[:max_attempts], 1):
            run = run_in(Stage.EVALUATING, number, policy.document(), max_attempts=min(max_attempts, len(scores)))
            run = attrs.evolve(run, input_tokens=spending.input_tokens, cost_nanos=spending.cost_nanos)
            spent = judged[number - 1][1]
            change = machine.advance(run, Evaluated(Evaluation(score)), attempts=attempts, spent=spent)
            assert change.spending == spent.spending
            spending, then = spending.plus(spent.spending), change.then
            if then.status.ended:
                assert (then.reason == "budget_exhausted") is (
                    score < run.pass_threshold and spent_sentence(policy.budget, spending, spent.unknowns) is not None
                )
                return number, then.reason
            assert then.stage is (Stage.PRODUCING if number < policy.drafts else Stage.REVISING)
            attempts.append(attempt(number, score))
        raise AssertionError("the attempts were used up")

    (undisturbed, reason), (number, policy_reason) = end(DEFAULT_POLICY), end(policy)
    assert number <= undisturbed
    assert (policy_reason == reason) or policy_reason in ("plateau", "budget_exhausted")
    limits = policy.budget.document()
    assert end(attrs.evolve(policy, budget=Budget(**{key: limit + 1 for key, limit in limits.items()})))[0] >= number
    if policy.stop.patience is not None:
        patient = attrs.evolve(policy, stop=attrs.evolve(policy.stop, patience=policy.stop.patience + 1))
        assert end(patient)[0] >= number


def test_a_repeated_revision_ends_the_run() -> None:
    """Its output is stored and not evaluated; a draft, another kind of output, or a run without the rule goes on."""
    attempts = [attempt(1, 0.5, "same"), attempt(2, 0.4)]
    cases: list[tuple[Mapping[str, Any], Stage, Produced, bool]] = [
        ({"stop": {"repeat": True}}, Stage.REVISING, Produced("same"), True),
        ({"stop": {"repeat": True}}, Stage.REVISING, Produced("same", is_json=True), False),
        ({"stop": {"repeat": True}}, Stage.REVISING, Produced("other"), False),
        ({"stop": {"repeat": True}, "drafts": 3}, Stage.PRODUCING, Produced("same"), False),
        ({}, Stage.REVISING, Produced("same"), False),
    ]
    for policy, stage, outcome, ends in cases:
        change = machine.advance(run_in(stage, 3, policy), outcome, attempts=attempts)
        assert (change.then.status is RunStatus.FAILED) is ends
        assert (change.then.reason == "repeated_output") is ends
        assert change.artifact is not None
        assert change.cancelled.reason == "cancel_requested"


def test_a_repeated_draft_gets_the_evaluation_of_its_equal() -> None:
    """The first equal attempt that was evaluated counts, and only where the policy has ``repeat``."""
    attempts = [attempt(1, 0.5, "same"), PastAttempt(2, output(2, "same"))]
    repeat = {"drafts": 2, "stop": {"repeat": True}}
    assert known_outcome(run_in(Stage.EVALUATING, 2, repeat), attempts) == Evaluated(Evaluation(0.5, "f1"))
    assert known_outcome(run_in(Stage.EVALUATING, 2, {"drafts": 2}), attempts) is None
    assert known_outcome(run_in(Stage.EVALUATING, 2, {"stop": {"repeat": True}}), attempts) is None
    assert known_outcome(run_in(Stage.EVALUATING, 1, repeat), [PastAttempt(1, output(1, "same"))]) is None


def test_what_a_revision_gets() -> None:
    """By default the attempt before; with ``best`` the earliest best one, and what was tried since in its feedback."""
    attempts = [attempt(1, 0.6), attempt(2, 0.9), attempt(3, 0.7), attempt(4, 0.61)]
    last = stage_material(run_in(Stage.REVISING, 5, {}), attempts)
    assert (last.base_attempt, last.output, last.evaluation) == (4, attempts[3].output, attempts[3].evaluation)
    assert (last.best, last.history) == (attempts[1], tuple(attempts))
    best = stage_material(run_in(Stage.REVISING, 5, {"reviseFrom": "best"}), attempts)
    assert (best.base_attempt, best.output) == (2, attempts[1].output)
    assert best.evaluation is not None
    assert (best.evaluation.score, best.evaluation.feedback) == (
        0.9,
        (
            "f2\nAttempt 3 tried to improve this and came to 0.70: f3\n"
            "Attempt 4 tried to improve this and came to 0.61: f4"
        ),
    )
    newest = stage_material(run_in(Stage.REVISING, 3, {"reviseFrom": "best"}), attempts[:2])
    assert (newest.base_attempt, newest.evaluation) == (2, attempts[1].evaluation)


def test_what_the_other_stages_get() -> None:
    """A draft gets nothing of the attempts before it, an evaluation the output, and the evaluation before it."""
    attempts = [attempt(1, 0.6), attempt(2, 0.9)]
    draft = stage_material(run_in(Stage.PRODUCING, 3, {"drafts": 3}), attempts)
    assert (draft.output, draft.evaluation, draft.base_attempt, draft.best, draft.history) == (None,) * 4 + ((),)
    judged = stage_material(run_in(Stage.EVALUATING, 2, {}), [attempts[0], PastAttempt(2, output(2, "o2"))])
    assert (judged.output, judged.evaluation) == (output(2, "o2"), attempts[0].evaluation)
    assert (judged.base_attempt, judged.best, judged.history) == (None, None, ())


@given(st.lists(st.floats(0, 1), max_size=6))
def test_the_best_attempt_is_the_earliest_of_equals(scores: list[float]) -> None:
    """And there is none before the first evaluation."""
    attempts = [attempt(number, score) for number, score in enumerate(scores, 1)]
    best = best_attempt([*attempts, PastAttempt(99)])
    assert best == (attempts[scores.index(max(scores))] if scores else None)
    assert ReviseFrom("best") is ReviseFrom.BEST
