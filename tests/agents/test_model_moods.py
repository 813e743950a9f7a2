"""A run of three prompts with each kind of server: how it ends, counted where the requests arrive."""

from pathlib import Path

import attrs
import pytest

import loopkit
from loopkit.agents.prompt.model_request import Endpoint, build_model
from tests.agents.conftest import Serve
from tests.agents.model_server_helpers import MOODS, Answer, Mood, fails
from tests.agents.prompt_helpers import prompt_stage


@attrs.frozen
class Ending:
    """The end of a run of two attempts with a judge who gives 0.9, where 0.95 would pass."""

    requests: int
    verdicts: int
    error: str | None = None
    """What the error message holds; None: the attempts were used up."""


JUDGED = 2

ENDINGS = {
    "well": Ending(4, JUDGED),
    "usage null": Ending(4, JUDGED),
    "tools ignored": Ending(5, JUDGED),
    "json_schema only": Ending(5, JUDGED),
    "plain text only": Ending(6, JUDGED),
    "500": Ending(3, 0, "produce: the model did not answer: status 500: out of order"),
    "401": Ending(1, 0, "produce: the model did not answer: status 401: no such key"),
    "quota spent": Ending(1, 0, "produce: the model did not answer: status 429: pay first"),
    "cut off": Ending(4, 0, "evaluate: the model's answer was cut off by max_tokens"),
    "empty choices": Ending(3, 0, "produce: the model did not answer: the response holds no choices"),
    "refusal": Ending(1, 0, "produce: the model's answer was refused: I cannot help with that."),
    "content filter": Ending(1, 0, "produce: the model's answer was refused: a content filter stopped it"),
    "reasoning only": Ending(3, 0, "produce: the model's answer holds no text"),
    "malformed": Ending(3, 0, "produce: the model did not answer: "),
    "slow": Ending(3, 0, "produce: timed out after 1 s"),
    "429 with seconds": Ending(3, 0, "produce: the model did not answer: status 429: slow down"),
    "429 with a date": Ending(3, 0, "produce: the model did not answer: status 429: slow down"),
}


def run(folder: Path, url: str, *, timeout: float | None = None) -> loopkit.Result:
    def prompt(template: str) -> loopkit.StageSpec:
        name = f"{len(list(folder.iterdir()))}.md"
        stage = attrs.evolve(prompt_stage(folder, base_url=url), prompt=name)
        (folder / name).write_text(template)
        return loopkit.StageSpec(stage, timeout=timeout)

    agent = loopkit.Agent(
        name="namer",
        produce=prompt("Name {{ inputs.thing }}."),
        evaluate=prompt("Judge: {{ output }}"),
        revise=prompt("Mend {{ output }}: {{ evaluation.feedback }}"),
        max_attempts=2,
        pass_threshold=0.95,
    )
    return loopkit.run_sync(agent, {"thing": "a cat"})


def test_every_mood_has_an_ending() -> None:
    """A kind of server that is added is added to the table as well."""
    assert set(ENDINGS) == set(MOODS)


@pytest.mark.parametrize("mood", ENDINGS)
def test_a_run_ends_as_its_server_lets_it(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, mood: str
) -> None:
    """No request more than the tries, no verdict that nobody gave, and an error that says why."""
    build_model(Endpoint(model="x:y", base_url="http://127.0.0.1", api_key_env=None), None)  # loads the library
    monkeypatch.setattr("loopkit.agents.stage_call.MAX_DELAY_SECONDS", 0.1)  # of the waits only their order counts here
    server, ending = serve(MOODS[mood]), ENDINGS[mood]
    result = run(tmp_path, server.url, timeout=1.0 if mood == "slow" else None)
    assert result.status == "failed"
    assert len(server.requests) == ending.requests
    verdicts = JUDGED if result.evaluation is not None and result.run.current_attempt == JUDGED else 0
    assert verdicts == ending.verdicts
    if ending.error is None:
        assert (result.run.error_message, result.run.final_score, result.output) == (None, 0.9, "A name for a cat.")
    else:
        assert str(result.run.error_message).startswith(ending.error)
        assert result.run.final_score is None


@pytest.mark.parametrize("failure", [fails(429, "slow down", Retry_After="1"), MOODS["429 with a date"], fails(503)])
def test_a_run_goes_on_after_a_passing_failure(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, failure: Answer | Mood
) -> None:
    """One request more, and the run is as if there had been no failure."""
    monkeypatch.setattr("loopkit.agents.stage_call.MAX_DELAY_SECONDS", 0.1)
    server = serve(failure, MOODS["well"])
    result = run(tmp_path, server.url)
    assert (result.run.final_score, len(server.requests)) == (0.9, 5)
