"""Stages that are programs: documents, results, log lines, and no process left behind."""

import json
import signal
import tracemalloc
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loopkit.agents.stages import process
from loopkit.agents.stages.command import CommandStage
from loopkit.agents.stages.command import _failure_message as failure_message
from loopkit.core import strict_json
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Produced
from loopkit.core.run import Stage
from loopkit.errors import InvalidConfig
from tests.agents.command_helpers import run, script
from tests.agents.context_helpers import Lines, context, place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def test_a_program_gets_a_document_and_gives_its_result(folder: Path) -> None:
    """JSON on stdin, in the file's folder, and stdout is the result, kept exactly."""
    command = script(
        folder, "d = json.load(sys.stdin)\nprint(d['inputs']['thing'], d['runId'], os.getcwd(), end='\\r\\n ')"
    )
    assert await run(folder, command) == Produced(f"a cat run_1 {folder}\r\n ")


async def test_an_output_that_looks_like_json_is_text(folder: Path) -> None:
    """What a program prints is text, whatever it looks like."""
    assert await run(folder, ["echo", '{"a": 1}']) == Produced('{"a": 1}\n')


@pytest.mark.parametrize(
    ("printed", "evaluation"),
    [
        ("0.72", Evaluation(0.72)),
        (
            ' {"score": 1, "feedback": "ü", "criteria": {"a": 0.5}}\n',
            Evaluation(1.0, "ü", rest={"criteria": {"a": 0.5}}),
        ),
    ],
)
async def test_an_evaluation_is_read_as_json(folder: Path, printed: str, evaluation: Evaluation) -> None:
    """A number, or an object with a score."""
    assert await run(folder, ["printf", "%s", printed], Stage.EVALUATING) == Evaluated(evaluation)


@pytest.mark.parametrize(
    ("printed", "says"),
    [
        ("", "not JSON"),
        ("good", "not JSON"),
        ("0.5 0.6", "not JSON"),
        ("NaN", "not in 0..1"),
        ('"0.5"', "text, not a number"),
        ("true", "a boolean"),
        ("\\377", "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
async def test_a_malformed_evaluation_is_an_error(folder: Path, printed: str, says: str) -> None:
    """No output of an evaluator counts as a score of 0."""
    outcome = await run(folder, ["printf", printed], Stage.EVALUATING)
    assert isinstance(outcome, Errored)
    assert says in outcome.message


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["printf", "\\377"], "invalid output: stdout is not UTF-8"),
        (["printf", "a\\000b"], "invalid output: contains a NUL character"),
        (["yes"], f"invalid output: is larger than {strict_json.MAX_OUTPUT_BYTES} bytes"),
    ],
)
async def test_output_that_cannot_be_kept_is_an_error(folder: Path, command: list[str], says: str) -> None:
    """It must be UTF-8 without NUL, and bounded: a program that never stops printing is killed."""
    assert await run(folder, command, retries=3) == Errored(says)


async def test_a_large_document_and_a_large_output_pass_each_other(folder: Path) -> None:
    """Both pipes are served at once, so that nobody waits for ever."""
    text = "ü" * 4_000_000
    produced = await run(folder, ["cat"], Stage.REVISING, output=text)
    assert isinstance(produced, Produced)
    document = strict_json.loads_or_text(produced.output)
    assert Path(document.pop("usageFile")).name == "usage.jsonl"
    assert document == context(Stage.REVISING, output=text).document()


@pytest.mark.parametrize("source", ["print('done')", "os.close(0); print('done')", "sys.stdin.read(10); print('done')"])
async def test_a_program_need_not_read_its_input(folder: Path, source: str) -> None:
    """A pipe broken by the reader is no error."""
    assert await run(folder, script(folder, source), Stage.REVISING, output="x" * 1_000_000) == Produced("done\n")


async def test_a_program_may_close_its_output_and_go_on(folder: Path) -> None:
    """The result is complete when the program has ended, not when it closes its output."""
    source = "print('early', flush=True)\nos.close(1); os.close(2)\ntime.sleep(0.2)\nopen('late', 'w').close()"
    assert await run(folder, script(folder, source)) == Produced("early\n")
    assert (folder / "late").exists()


async def test_each_line_of_stderr_is_a_log_line(folder: Path) -> None:
    """In order, without line ends; the last one needs none."""
    lines = Lines()
    command = ["printf", "one\\n\\n  two\\r\\n\\377\\nthree"]
    await run(folder, ["sh", "-c", '"$@" >&2', "sh", *command], sink=lines)
    assert lines == [("one", {}), ("", {}), ("  two", {}), ("\ufffd", {}), ("three", {})]


async def test_a_log_line_is_bounded(folder: Path) -> None:
    """Of a line without an end only what can be kept is held, and one byte more to show that it was longer."""
    lines = Lines()
    source = "sys.stderr.write('x' * 30_000_000); sys.stderr.write('\\n' + 'y' * 10_000 + '\\nend\\n')"
    tracemalloc.start()
    try:
        await run(folder, script(folder, source), sink=lines)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    size = process.MAX_LINE_BYTES + 1
    assert lines.texts == ["x" * size, "y" * size, "end"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["false"], "exit status 1"),
        (["sh", "-c", "echo first >&2; echo ' last ' >&2; echo >&2; exit 3"], "exit status 3: last"),
        (["sh", "-c", "echo out; exit 3"], "exit status 3"),
        (["sh", "-c", "kill -9 $$"], "ended by SIGKILL"),
        (["sh", "-c", f"kill -{signal.SIGRTMIN + 1} $$"], f"ended by signal {signal.SIGRTMIN + 1}"),
        (["./missing"], "cannot start ./missing: No such file or directory"),
        (["./plain"], "cannot start ./plain: Permission denied"),
        (["./empty"], "cannot start ./empty: Exec format error"),
    ],
)
async def test_a_program_that_fails_is_an_error(folder: Path, command: list[str], message: str) -> None:
    """The exit status and the last words, or why it could not be started."""
    (folder / "plain").write_text("text")
    (folder / "empty").write_text("text")
    (folder / "empty").chmod(0o755)
    assert await run(folder, command) == Errored(message)


async def test_a_folder_that_is_gone_is_an_error(folder: Path) -> None:
    """Nothing runs anywhere else."""
    outcome = await run(folder / "gone", ["true"])
    assert isinstance(outcome, Errored)
    assert outcome.message == "cannot start true: No such file or directory"


def test_a_program_that_cannot_even_be_killed_is_an_error(folder: Path) -> None:
    """A process that the kernel does not let go of is given up, and the error says so."""
    program = process.Program(
        argv=["true"], env={}, folder=folder, input=b"", on_line=print, on_output=print, grace_seconds=1
    )
    assert failure_message(program) == "the program does not end, not even when killed"


@pytest.mark.parametrize(
    "argument", ["; touch pwned", "$(touch pwned)", "`touch pwned`", "a b", "*", "'\"\\", "| x", ""]
)
async def test_no_shell_reads_the_arguments(folder: Path, argument: str) -> None:
    """Each argument arrives as it was written."""
    assert await run(folder, ["printf", "%s", argument]) == Produced(argument)
    assert not (folder / "pwned").exists()


async def test_the_environment_is_the_runners_without_loopkits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Database and token are not for programs; the stage's own variables are added."""
    monkeypatch.setenv("LOOPKIT_TOKEN", "canary")
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("CHANGED", "old")
    command = script(folder, "print(json.dumps(dict(os.environ)))")
    outcome = await run(folder, command, env={"CHANGED": "new", "LOOPKIT_OWN": "own"})
    assert isinstance(outcome, Produced)
    environment = json.loads(outcome.output)
    assert "canary" not in outcome.output
    assert {name: environment.get(name) for name in ("KEPT", "CHANGED", "LOOPKIT_OWN")} == {
        "KEPT": "kept",
        "CHANGED": "new",
        "LOOPKIT_OWN": "own",
    }


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"command": "./score.sh"}, "command"),
        ({"command": []}, "command"),
        ({"command": [""]}, "command"),
        ({"command": ["a", 1]}, "command"),
        ({"command": ["a\0"]}, "command"),
        ({"env": []}, "env"),
        ({"env": {"": "x"}}, "env."),
        ({"env": {"A=B": "x"}}, "env.A=B"),
        ({"env": {1: "x"}}, "env.1"),
        ({"env": {"A": 1}}, "env.A"),
        ({"env": {"A": "\0"}}, "env.A"),
        ({"grace": -0.1}, "grace"),
        ({"grace": True}, "grace"),
        ({"grace": "5"}, "grace"),
        ({"grace": float("nan")}, "grace"),
        ({"stdin": ""}, "stdin"),
        ({"workdir": 1}, "workdir"),
        ({"stdout": "json"}, "stdout"),
        ({"result": "/result"}, "result"),
        ({"result": "result", "stdout": "jsonl"}, "result"),
        ({"result": "/a~2", "stdout": "jsonl"}, "result"),
    ],
)
def test_settings_that_cannot_work_are_refused(folder: Path, settings: dict[str, Any], key: str) -> None:
    """Nothing is guessed: a list of strings, and a mapping of names to strings."""
    with pytest.raises(InvalidConfig) as caught:
        CommandStage(**{"command": ["true"], "folder": folder, **settings})
    assert caught.value.key == key


def test_the_description_of_a_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its program can be executed is known without running it."""
    (folder / "score.sh").write_text("#!/bin/sh\necho 1\n")
    stage = CommandStage(command=("./score.sh", "-x"), folder=folder)
    assert (stage.kind, stage.target) == ("command", "./score.sh -x")
    assert stage.problem() == "there is no executable program './score.sh'"
    (folder / "score.sh").chmod(0o755)
    assert stage.problem() is None
    monkeypatch.chdir("/")
    assert stage.problem() is None
    bare = CommandStage(command=("score.sh",), folder=folder)
    assert bare.problem() is not None
    assert CommandStage(command=("score.sh",), folder=folder, env={"PATH": str(folder)}).problem() is None
    assert stage.definition != bare.definition
    assert "canary" not in repr(CommandStage(command=("a",), folder=folder, env={"KEY": "canary"}))


async def test_a_program_has_no_more_time_than_its_stage(folder: Path) -> None:
    """The timeout of the stage holds for programs too."""
    outcome = await run(folder, ["sleep", "1000"], timeout=timedelta(seconds=0.2))
    assert outcome == Errored("timed out after 0.2 s")


async def test_stdin_may_be_a_template(folder: Path) -> None:
    """Its text, with the stage's values, is all that the program reads; what is filled in is no template."""
    (folder / "ask.md").write_text("\ufeffWrite about {{ inputs.thing }}.\n{{ evaluation.feedback }}", encoding="utf-8")
    outcome = await run(folder, ["cat"], stdin="ask.md", inputs={"thing": "{{ output }} ü"})
    assert outcome == Produced("Write about {{ output }} ü.\n")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read the template ask.md: No such file or directory"),
        (b"\xff", "the template ask.md is not UTF-8"),
        (b"{{ nonsense }}", "nonsense"),
        (b"x" * ((1 << 20) + 1), "the template ask.md is larger than 1048576 bytes"),
    ],
)
async def test_a_template_that_cannot_be_used_is_known_before_any_run(
    folder: Path, content: bytes | None, says: str
) -> None:
    """The stage cannot be loaded, and is an error when it is called all the same."""
    if content is not None:
        (folder / "ask.md").write_bytes(content)
    assert says in str(CommandStage(command=("cat",), folder=folder, stdin="ask.md").problem())
    outcome = await run(folder, ["cat"], stdin="ask.md")
    assert isinstance(outcome, Errored)
    assert says in outcome.message


async def test_a_program_works_in_its_own_folder(folder: Path) -> None:
    """Paths of the configuration, that of the program too, stay relative to its file."""
    (folder / "tree").mkdir()
    (folder / "tool.sh").write_text("#!/bin/sh\npwd\n")
    (folder / "tool.sh").chmod(0o755)
    (folder / "tree" / "tool.sh").write_text("#!/bin/sh\necho another\n")
    (folder / "ask.md").write_text("text")
    assert await run(folder, ["./tool.sh"], workdir="tree", stdin="ask.md") == Produced(f"{folder}/tree\n")
    stage = CommandStage(command=("./tool.sh",), folder=folder, workdir="gone")
    assert stage.problem() == "there is no folder 'gone' (workdir)"


async def test_lines_of_json_are_logged_while_the_program_runs(folder: Path) -> None:
    """The program goes on when its first line has arrived, and its last object's result is the output."""
    lines = Lines()

    def sink(message: str, metadata: Mapping[str, Any]) -> None:
        lines(message, metadata)
        (folder / "seen").touch()

    source = """
print(json.dumps({"type": "step", "n": 1}), flush=True)
while not os.path.exists("seen"):
    time.sleep(0.01)
print(json.dumps({"type": "result", "result": "a text ü", "total_cost_usd": 0.02, "usage": {"input_tokens": 7}}))
"""
    assert await run(folder, script(folder, source), stdout="jsonl", sink=sink) == Produced("a text ü")
    assert lines[0] == ('{"type": "step", "n": 1}', {})
    assert lines[-1][1] == {"usage": {"input_tokens": 7}, "total_cost_usd": 0.02}
    assert lines[-1][0].endswith("reported its usage")


@pytest.mark.parametrize(
    ("printed", "result", "evaluation"),
    [
        ('{"result": {"score": 0.5, "feedback": "f"}}', None, Evaluation(0.5, "f")),
        ('{"result": "{\\"score\\": 0.5}"}', None, Evaluation(0.5)),
        ('{"item": {"text": "0.25"}}\n{"type": "end"}', "/item/text", Evaluation(0.25)),
    ],
)
async def test_lines_of_json_may_hold_an_evaluation(
    folder: Path, printed: str, result: str | None, evaluation: Evaluation
) -> None:
    """As an object, a number, or a text that is one of them as JSON."""
    command = ["printf", "%s", printed]
    outcome = await run(folder, command, Stage.EVALUATING, stdout="jsonl", result=result)
    assert outcome == Evaluated(evaluation)


async def test_a_failed_program_says_in_its_last_object_why(folder: Path) -> None:
    """Coding tools print the reason as their result and nothing to stderr; the usage is kept all the same."""
    lines = Lines()
    printed = '{"is_error": true, "result": "no credit left", "total_cost_usd": 0.5}'
    command = ["sh", "-c", f"echo '{printed}'; exit 1"]
    outcome = await run(folder, command, stdout="jsonl", sink=lines)
    assert outcome == Errored("exit status 1: no credit left")
    assert ("sh reported its usage", {"total_cost_usd": 0.5}) in lines
    assert await run(folder, ["echo", printed], stdout="jsonl") == Errored(
        "the program reports an error: no credit left"
    )


def test_the_definition_follows_what_a_program_gets_and_gives(folder: Path) -> None:
    """A template's text counts too; a command without these keys has the definition that it always had."""
    plain = CommandStage(command=("cat",), folder=folder)
    assert plain.definition == '["cat",{}]'
    (folder / "ask.md").write_text("one")
    variants: list[dict[str, Any]] = [
        {},
        {"stdin": "ask.md"},
        {"stdout": "jsonl"},
        {"stdout": "jsonl", "result": "/a"},
        {"workdir": "tree"},
    ]
    definitions = [CommandStage(command=("cat",), folder=folder, **settings).definition for settings in variants]
    (folder / "ask.md").write_text("two")
    definitions.append(CommandStage(command=("cat",), folder=folder, stdin="ask.md").definition)
    assert len(set(definitions)) == 6


def test_stdin_knows_the_inputs_of_its_agent(tmp_path: Path) -> None:
    """A name that the schema does not have is a problem, and an input that is declared may be left out."""
    (tmp_path / "task.md").write_text("Do it for {{ inputs.audience }}!")
    command = CommandStage(command=["cat"], stdin="task.md", folder=tmp_path)
    known = command.for_agent(place(inputs={"properties": {"audience": {}}}))
    assert known.problem() is None
    assert known._input(context(), Path("usage.jsonl")) == b"Do it for !"
    other = command.for_agent(place(inputs={"properties": {"topic": {}}}))
    assert "names inputs.audience, which the inputs' schema does not have" in str(other.problem())
