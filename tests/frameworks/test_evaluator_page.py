"""What "Use an evaluator that you have" says: its recipes work."""

import asyncio
from pathlib import Path

import pytest

import loopkit
from tests.agents.model_server_helpers import Mood, speaks
from tests.docs.page_helpers import DOCS
from tests.frameworks.conftest import Serve
from tests.frameworks.evaluator_helpers import GRADE, gives
from tests.frameworks.framework_helpers import MEMO
from tests.frameworks.recipe_helpers import module_of, recipes

PAGE = DOCS / "how-to" / "use-an-evaluator.md"

ANSWERS: dict[str, Mood] = {
    "pydantic_evals_recipe.py": gives(GRADE),
    "autoevals_recipe.py": gives({"reasons": "too short", "choice": "fair"}),
    "deepeval_recipe.py": gives({"reason": "too short", "score": 7}),
    "inspect_recipe.py": speaks("too short\nGRADE: P"),
}
"""What the judge's model says, by the recipe."""


@pytest.mark.parametrize("name", ANSWERS)
def test_recipe_of_an_evaluator(name: str, serve: Serve, tmp_path: Path) -> None:
    """It gives a score that does not pass, with the feedback that the model gave."""
    serve(ANSWERS[name])
    recipe = module_of(tmp_path, name, recipes(PAGE)[name])
    agent = loopkit.Agent(name="memo", max_attempts=1, produce=lambda ctx: MEMO, evaluate=recipe.evaluate)
    evaluation = asyncio.run(loopkit.run(agent, {"topic": "owls"})).evaluation
    assert evaluation is not None
    assert evaluation.score in (0.5, 0.7)
    assert "too short" in evaluation.feedback


def test_every_recipe_of_an_evaluator_is_run() -> None:
    """The page has no other."""
    assert recipes(PAGE).keys() == ANSWERS.keys()
