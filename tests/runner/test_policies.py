"""Runs with a policy, worked by the runner from their first stage to their end, and resumed on the way."""

from typing import Any

import loopkit
from loopkit import Agent, MemoryStore, RunStatus, StageContext, Stop, Stopping


class Recorder:
    """Stages that give one score after the other and keep what they were given."""

    def __init__(self, scores: list[float], outputs: list[str] | None = None) -> None:
        self.scores = scores
        self.outputs = outputs
        self.stop_after: tuple[int, Stopping] | None = None
        """Number of calls after which a stop of the runner is requested."""
        self.calls: list[tuple[str, int, Any, float | None, int | None, int | None, list[int]]] = []

    def make(self, context: StageContext) -> str:
        self._note(context)
        return self.outputs[context.attempt - 1] if self.outputs else f"o{context.attempt}"

    def judge(self, context: StageContext) -> dict[str, Any]:
        self._note(context)
        return {"score": self.scores[context.attempt - 1], "feedback": f"f{context.attempt}"}

    def _note(self, context: StageContext) -> None:
        evaluation, best = context.evaluation, context.best
        self.calls.append(
            (
                context.stage.value,
                context.attempt,
                context.output,
                None if evaluation is None else evaluation.score,
                context.base_attempt,
                None if best is None else best.attempt,
                [entry.attempt for entry in context.history],
            )
        )
        if self.stop_after is not None and len(self.calls) == self.stop_after[0]:
            self.stop_after[1].ask()

    def agent(self, **settings: Any) -> Agent:
        return Agent(
            name="writer",
            produce=self.make,
            evaluate=self.judge,
            revise=self.make,
            **{"max_attempts": len(self.scores), "pass_threshold": 0.95, **settings},
        )

    @property
    def made(self) -> list[tuple[Any, ...]]:
        """The calls of ``produce`` and ``revise``."""
        return [call for call in self.calls if call[0] != "evaluating"]


async def test_drafts_begin_anew_and_revisions_start_from_the_best() -> None:
    """Two drafts get nothing of each other; each revision gets the best attempt so far."""
    recorder = Recorder([0.6, 0.9, 0.7, 0.5])
    result = await loopkit.run(recorder.agent(drafts=2, revise_from="best"), {})
    assert recorder.made == [
        ("producing", 1, None, None, None, None, []),
        ("producing", 2, None, None, None, None, []),
        ("revising", 3, "o2", 0.9, 2, 2, [1, 2]),
        ("revising", 4, "o2", 0.9, 2, 2, [1, 2, 3]),
    ]
    assert (result.run.status, result.output, result.run.end_reason) == (RunStatus.FAILED, "o2", "attempts_spent")
    assert result.run.policy == {"drafts": 2, "reviseFrom": "best"}


async def test_a_run_with_a_policy_is_resumed_as_if_undisturbed() -> None:
    """Released after any number of stages, it makes the same calls and ends alike."""
    settings: dict[str, Any] = {"drafts": 2, "revise_from": "best", "stop": Stop(patience=2, min_delta=0.1)}
    scores = [0.6, 0.5, 0.65, 0.55, 0.9]
    whole = Recorder(scores)
    ended = (await loopkit.run(whole.agent(**settings), {})).run
    assert (ended.current_attempt, ended.end_reason) == (4, "plateau")
    assert ended.error_message == "the last 2 revisions were no better (plateau)"
    for stages in range(1, len(whole.calls)):
        recorder, stopping, store = Recorder(scores), Stopping(), MemoryStore()
        recorder.stop_after = (stages, stopping)
        agent = recorder.agent(**settings)
        [queued] = await loopkit.submit(store, agent, [{}])
        await loopkit.Runner(store, [agent], stopping=stopping).serve()
        assert ((await store.get_run(queued.id)).status, len(recorder.calls)) == (RunStatus.QUEUED, stages)
        await loopkit.Runner(store, [agent]).drain()
        run = await store.get_run(queued.id)
        assert recorder.calls == whole.calls
        assert (run.current_attempt, run.end_reason, run.final_score) == (4, "plateau", 0.65)


async def test_a_repeated_revision_is_not_judged() -> None:
    """The run ends with the repeated output stored; the evaluator is not called for it."""
    recorder = Recorder([0.5, 0.6, 0.7], ["a", "b", "a"])
    result = await loopkit.run(recorder.agent(stop=Stop(repeat=True)), {})
    assert [call[:2] for call in recorder.calls][-1] == ("revising", 3)
    assert (result.run.end_reason, result.output, result.run.final_score) == ("repeated_output", "b", 0.6)


async def test_a_repeated_draft_is_not_judged_again() -> None:
    """It gets the evaluation of its equal, and the loop goes on."""
    recorder = Recorder([0.5, 0.9, 0.7], ["a", "a", "b"])
    result = await loopkit.run(recorder.agent(drafts=2, stop=Stop(repeat=True)), {})
    assert [call[:2] for call in recorder.calls] == [
        *(("producing", 1), ("evaluating", 1), ("producing", 2), ("revising", 3), ("evaluating", 3)),
    ]
    assert (result.run.end_reason, result.run.final_score) == ("attempts_spent", 0.7)
