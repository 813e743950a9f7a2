"""Results of evaluator libraries, returned from ``evaluate`` as they are: read as a score and feedback, or refused."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from autoevals import Levenshtein
from autoevals.llm import LLMClassifier
from deepeval.metrics import ExactMatchMetric, GEval
from deepeval.test_case import LLMTestCase, SingleTurnParams
from inspect_ai.model import ModelOutput, get_model
from inspect_ai.scorer import Target, f1, match, model_graded_qa
from inspect_ai.solver import TaskState
from pydantic_evals.evaluators import Contains, EvaluationReason, EvaluatorContext, LLMJudge
from pydantic_evals.evaluators.llm_as_a_judge import judge_input_output
from pydantic_evals.otel import SpanTree

import loopkit
from loopkit import Evaluation, StageContext
from tests.agents.model_server_helpers import speaks
from tests.frameworks.conftest import Serve
from tests.frameworks.evaluator_helpers import GRADE, gives

MEMO = "A memo."


def evaluated(evaluate: Callable[[StageContext], Any]) -> loopkit.Result:
    """Run an agent whose only evaluator is this one."""
    agent = loopkit.Agent(name="memo", max_attempts=1, produce=lambda ctx: MEMO, evaluate=evaluate)
    return asyncio.run(loopkit.run(agent, {"topic": "owls"}))


def case(ctx: StageContext) -> EvaluatorContext[Any, Any, Any]:
    """Return what an evaluator of pydantic-evals gets."""
    return EvaluatorContext(
        name=ctx.run_id,
        inputs=dict(ctx.inputs),
        metadata=None,
        expected_output=None,
        output=ctx.output,
        duration=0.0,
        _span_tree=SpanTree(),
        attributes={},
        metrics={},
    )


def state(ctx: StageContext) -> TaskState:
    """Return what a scorer of Inspect gets."""
    output = ModelOutput.from_content("tiny", ctx.output)
    return TaskState(
        model="openai/tiny", sample_id=ctx.run_id, epoch=1, input=ctx.inputs["topic"], messages=[], output=output
    )


def test_the_judge_of_pydantic_evals(serve: Serve) -> None:
    """Its grading is a model with a score and a reason; its other field is kept."""
    serve(gives(GRADE))

    async def evaluate(ctx: StageContext) -> Any:
        return await judge_input_output(ctx.inputs, ctx.output, "It is a memo.", model="openai-chat:tiny")

    assert evaluated(evaluate).evaluation == Evaluation(0.7, "too short", rest={"pass_": True})


def test_an_evaluator_of_pydantic_evals() -> None:
    """The value of its reason is the score."""
    result = evaluated(lambda ctx: EvaluationReason(value=0.7, reason="too short"))
    assert result.evaluation == Evaluation(0.7, "too short")


def test_named_results_of_pydantic_evals(serve: Serve) -> None:
    """A mapping of them is refused with the one to return."""
    serve(gives(GRADE))
    judge: Any = LLMJudge(
        rubric="It is a memo.", model="openai-chat:tiny", score={"include_reason": True}, assertion=False
    )
    result = evaluated(lambda ctx: judge.evaluate_sync(case(ctx)))
    says = "evaluate: invalid evaluation: it has no score; its 'LLMJudge' is an EvaluationReason: return that"
    assert result.error == says


def test_assertions_of_pydantic_evals() -> None:
    """True and False are no scores."""
    result = evaluated(lambda ctx: Contains(value="memo").evaluate(case(ctx)))
    assert result.error == "evaluate: invalid score: True, not a number; return 1.0 for True and 0.0 for False"


def test_a_score_of_autoevals(serve: Serve) -> None:
    """The score and all other fields of it, the rationale of a model among them."""
    serve(gives({"reasons": "too short", "choice": "fair"}))
    judge = LLMClassifier(
        name="memo",
        prompt_template="Rate: {{output}}",
        choice_scores={"good": 1, "fair": 0.5},
        use_cot=True,
        model="tiny",
    )
    result = evaluated(lambda ctx: judge(ctx.output))
    assert result.evaluation == Evaluation(
        0.5,
        rest={"name": "memo", "metadata": {"choice": "fair", "rationale": "too short"}, "error": None},
    )


def test_a_score_of_autoevals_without_a_model() -> None:
    """Scores that are computed are read in the same way."""
    result = evaluated(lambda ctx: Levenshtein()(ctx.output, "A memo!"))
    assert result.evaluation.score == pytest.approx(6 / 7)


@pytest.mark.parametrize("returns_metric", [True, False], ids=["the metric", "its score"])
def test_a_metric_of_deepeval(serve: Serve, *, returns_metric: bool) -> None:
    """``measure`` gives the score alone; the metric itself has the reason as well."""
    serve(gives({"reason": "too short", "score": 7}))

    def evaluate(ctx: StageContext) -> Any:
        metric = GEval(
            name="memo",
            evaluation_steps=["Is it a memo?"],
            evaluation_params=[SingleTurnParams.ACTUAL_OUTPUT],
            model="gpt-4.1",
        )
        score = metric.measure(LLMTestCase(input="owls", actual_output=ctx.output), _show_indicator=False)
        return metric if returns_metric else score

    assert evaluated(evaluate).evaluation == Evaluation(0.7, "too short" if returns_metric else "")


def test_an_async_metric_of_deepeval() -> None:
    """``a_measure`` can be awaited."""

    async def evaluate(ctx: StageContext) -> Any:
        metric = ExactMatchMetric()
        await metric.a_measure(LLMTestCase(input="owls", actual_output=ctx.output, expected_output=MEMO))
        return metric

    assert evaluated(evaluate).evaluation.score == 1.0


def test_a_score_of_inspect() -> None:
    """Its value is the score; the answer and the rest of its fields are kept."""
    result = evaluated(lambda ctx: asyncio.run(f1()(state(ctx), Target(MEMO))))
    assert (result.evaluation.score, result.evaluation["answer"]) == (1.0, MEMO)


def test_letters_of_inspect() -> None:
    """Its grades are no scores: which number a letter is worth is for the user to say."""

    async def evaluate(ctx: StageContext) -> Any:
        return await match()(state(ctx), Target(MEMO))

    assert evaluated(evaluate).error == "evaluate: invalid score: the text 'C'; return a number in 0..1 for it"


def test_a_grade_that_inspect_cannot_read(serve: Serve) -> None:
    """It is NaN there and an error here, never a score."""
    server = serve(speaks("It is bad."))

    async def evaluate(ctx: StageContext) -> Any:
        model = get_model("openai-api/local/tiny", base_url=server.url, api_key="sk-test", memoize=False)
        return await model_graded_qa(model=model)(state(ctx), Target(MEMO))

    assert evaluated(evaluate).error == "evaluate: invalid score: nan is not in 0..1"
    assert len(server.requests) == 1
