"""A run goes on from its artifacts alone: from every prefix of them it ends as if nothing had happened."""

from datetime import UTC, datetime
from typing import Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.core import machine, strict_json
from loopkit.core.attempts import read_evaluation
from loopkit.core.journal import Artifact, ArtifactType, Change
from loopkit.core.outcome import Evaluated, Evaluation, Outcome, Produced
from loopkit.core.resumption import decide_resumption
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.core.stage_material import stage_material

NOW: Final = datetime(2031, 4, 5, 6, 7, 8, tzinfo=UTC)


def fresh(max_attempts: int, threshold: float) -> Run:
    return Run(
        id="run_1",
        agent_name="writer",
        cycle_id="c",
        status=RunStatus.RUNNING,
        current_stage=Stage.PRODUCING,
        max_attempts=max_attempts,
        pass_threshold=threshold,
        inputs={},
        created_at=NOW,
    )


def artifact(number: int, attempt: int, kind: ArtifactType, content: str, *, is_json: bool = False) -> Artifact:
    return Artifact(
        id=number,
        run_id="run_1",
        attempt=attempt,
        artifact_type=kind,
        filename="x",
        content=content,
        is_json=is_json,
        created_at=NOW,
    )


def kept(artifacts: list[Artifact], change: Change) -> list[Artifact]:
    """Return the artifacts after a change."""
    new = change.artifact
    if new is None:
        return artifacts
    stored = artifact(len(artifacts) + 1, new.attempt, new.artifact_type, new.content, is_json=new.is_json)
    return [*artifacts, stored]


def after(run: Run, change: Change) -> Run:
    """Return the run as a store would after a change."""
    return attrs.evolve(
        run,
        status=change.then.status,
        current_stage=change.then.stage,
        current_attempt=change.then.attempt,
        final_score=change.final_score,
        best_attempt=change.best_attempt,
        error_message=change.then.error_message,
    )


def outcome_of(run: Run, scores: list[float]) -> Outcome:
    """Return the outcome of a stage that depends on the attempt alone."""
    if run.current_stage is Stage.EVALUATING:
        return Evaluated(Evaluation(scores[run.current_attempt - 1], f"feedback {run.current_attempt}"))
    return Produced(f"output {run.current_attempt}")


def work(run: Run, artifacts: list[Artifact], scores: list[float]) -> tuple[Run, list[Artifact]]:
    """Work a run to its end."""
    while not run.ended:
        change = machine.advance(run, outcome_of(run, scores))
        run, artifacts = after(run, change), kept(artifacts, change)
    return run, artifacts


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.floats(0, 1), st.data())
def test_resuming_anywhere_ends_the_same(scores: list[float], threshold: float, data: st.DataObject) -> None:
    """From every prefix of the artifacts, in whatever order they are read, the end and everything kept are equal."""
    whole, everything = work(fresh(len(scores), threshold), [], scores)
    for length in range(len(everything) + 1):
        prefix = everything[:length]
        resumption = decide_resumption(fresh(len(scores), threshold), data.draw(st.permutations(prefix)))
        if resumption.change is None:
            assert machine.state_of(resumption.run) is resumption.run.current_stage
            ended, artifacts = work(resumption.run, prefix, scores)
            assert artifacts == everything
        else:
            assert length == len(everything)
            ended = after(resumption.run, resumption.change)
        assert ended == whole


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=5), st.data())
def test_a_finished_stage_is_never_called_again(scores: list[float], data: st.DataObject) -> None:
    """The stage to call has no artifact, and it gets what it would have got."""
    _, everything = work(fresh(len(scores), 0.8), [], scores)
    prefix = everything[: data.draw(st.integers(0, len(everything) - 1))]
    resumption = decide_resumption(fresh(len(scores), 0.8), prefix)
    stage, attempt = resumption.run.current_stage, resumption.run.current_attempt
    kind = ArtifactType.EVALUATION if stage is Stage.EVALUATING else ArtifactType.OUTPUT
    assert (attempt, kind) not in [(a.attempt, a.artifact_type) for a in prefix]
    wanted = attempt if stage is Stage.EVALUATING else attempt - 1
    material = stage_material(resumption.run, resumption.attempts)
    assert (material.output.content if material.output else None) == (f"output {wanted}" if wanted else None)
    assert (material.evaluation.feedback if material.evaluation else None) == (
        f"feedback {attempt - 1}" if attempt > 1 else None
    )
    claimed = machine.decide_claim(
        attrs.evolve(fresh(len(scores), 0.8), status=RunStatus.QUEUED), prefix, claimed_by="x"
    )
    assert (claimed.stage, claimed.attempt) == (stage, attempt)


@pytest.mark.parametrize(("score", "status"), [(0.9, RunStatus.PASSED), (0.1, RunStatus.FAILED)])
def test_a_stored_last_judgement_ends_the_run(score: float, status: RunStatus) -> None:
    """If another program stored the evaluation and not the end, no stage is called and the end is written."""
    evaluation = strict_json.dumps({"score": score, "feedback": ""})
    artifacts = [
        artifact(1, 1, ArtifactType.OUTPUT, "x"),
        artifact(2, 1, ArtifactType.EVALUATION, evaluation, is_json=True),
    ]
    resumption = decide_resumption(fresh(1, 0.8), artifacts)
    assert resumption.change is not None
    assert (resumption.change.then.status, resumption.change.artifact, resumption.change.finishes_stage) == (
        status,
        None,
        False,
    )
    assert (resumption.change.final_score, resumption.change.best_attempt) == (score, 1)


@pytest.mark.parametrize(
    ("content", "score", "feedback", "rest"),
    [
        ('{"score":0.5,"feedback":"f","criteria":{"a":1}}', 0.5, "f", {"criteria": {"a": 1}}),
        ('{"score":1}', 1.0, "", {}),
        ("0.25", 0.25, "", {}),
        ("no json", 0.0, "", {}),
        ('{"score":true}', 0.0, "", {}),
        ('{"score":7}', 0.0, "", {}),
        ('{"score":NaN,"feedback":3}', 0.0, "3", {}),
        ("[]", 0.0, "", {}),
    ],
)
def test_an_evaluation_is_read_back(content: str, score: float, feedback: str, rest: dict[str, object]) -> None:
    """An invalid evaluation of another program is read as the lowest score, without an error."""
    evaluation = read_evaluation(artifact(1, 1, ArtifactType.EVALUATION, content, is_json=True))
    assert (evaluation.score, evaluation.feedback, dict(evaluation.rest)) == (score, feedback, rest)


@given(
    st.floats(0, 1),
    st.text(),
    st.dictionaries(st.text().filter(lambda k: k not in {"score", "feedback"}), st.integers()),
)
def test_what_an_evaluator_gave_survives(score: float, feedback: str, rest: dict[str, int]) -> None:
    """Written and read, an evaluation is the same: a resumed and an undisturbed run cannot differ."""
    given_ = Evaluation(score, feedback, rest=rest)
    change = machine.advance(attrs.evolve(fresh(3, 0.8), current_stage=Stage.EVALUATING), Evaluated(given_))
    assert change.artifact is not None
    read_back = read_evaluation(change.artifact)
    assert read_back == given_
    assert list(read_back) == ["score", "feedback", *rest]
    assert len(read_back) == len(given_)
