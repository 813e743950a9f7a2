from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from loopkit.agents import programs
from loopkit.agents.agent import StageSpec
from loopkit.agents.calling import call
from loopkit.agents.command import CommandStage
from loopkit.agents.command import _failure as failure
from loopkit.agents.threads import in_thread
from loopkit.core import plain
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Outcome, Produced
from loopkit.core.run import Stage
from loopkit.errors import InvalidConfig
from tests.agents.contexts import Lines, context


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def script(folder: Path, source: str) -> list[str]:
    """A program of Python with this source, as a command."""
    path = folder / "program.py"
    path.write_text("import json, os, signal, subprocess, sys, time\n" + source)
    return [sys.executable, "-I", "-S", str(path)]


async def run(folder: Path, command: Sequence[str], stage: Stage = Stage.PRODUCING, **settings: Any) -> Outcome:
    own = {key: settings.pop(key) for key in ("timeout", "retries") if key in settings}
    env = settings.pop("env", {})
    spec = StageSpec(CommandStage(command=tuple(command), folder=folder, env=env), **own)
    return await call(spec, context(stage, **settings))


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be taken note of does not."""
    try:
        if not Path("/proc/self/stat").exists():
            os.kill(pid, 0)
            return True
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until_gone(pids: Sequence[int]) -> None:
    deadline = time.monotonic() + 30
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, "processes were left behind"
        time.sleep(0.01)


def wait_for_pids(path: Path, count: int) -> list[int]:
    """The process ids that a program wrote into a file, a line each."""
    deadline = time.monotonic() + 30
    while not path.exists() or path.read_text().count("\n") < count:
        assert time.monotonic() < deadline, "the program did not begin"
        time.sleep(0.01)
    return [int(line) for line in path.read_text().split()]


FAMILY = """
note = lambda pid: open("pids", "a").write(f"{pid}\\n")
note(os.getpid())
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)"])
note(child.pid)
"""
"""Notes its own process id and that of a child that would run for long."""


# --- The conversation --------------------------------------------------------------------------------------------


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
        (["printf", "a\\000b"], "invalid output: holds a NUL character"),
        (["yes"], f"invalid output: is larger than {plain.MAX_OUTPUT_BYTES} bytes"),
    ],
)
async def test_output_that_cannot_be_kept_is_an_error(folder: Path, command: list[str], says: str) -> None:
    """It must be UTF-8 without NUL, and bounded: a program that never stops printing is killed."""
    assert await run(folder, command, retries=3) == Errored(says)


async def test_a_large_document_and_a_large_output_pass_each_other(folder: Path) -> None:
    """Both pipes are served at once, so that nobody waits for ever."""
    text = "ü" * 4_000_000
    assert await run(folder, ["cat"], Stage.REVISING, output=text) == Produced(
        plain.dumps(context(Stage.REVISING, output=text).document()) + "\n"
    )


@pytest.mark.parametrize("source", ["print('done')", "os.close(0); print('done')", "sys.stdin.read(10); print('done')"])
async def test_a_program_need_not_read_what_it_is_told(folder: Path, source: str) -> None:
    """A pipe broken by the reader is no error."""
    assert await run(folder, script(folder, source), Stage.REVISING, output="x" * 1_000_000) == Produced("done\n")


async def test_a_program_may_close_its_output_and_go_on(folder: Path) -> None:
    """The result is complete when the program has ended, not when it says no more."""
    source = "print('early', flush=True)\nos.close(1); os.close(2)\ntime.sleep(0.2)\nopen('late', 'w').close()"
    assert await run(folder, script(folder, source)) == Produced("early\n")
    assert (folder / "late").exists()


# --- Log lines and errors ----------------------------------------------------------------------------------------


async def test_each_line_of_stderr_is_a_log_line(folder: Path) -> None:
    """In order, without line ends; the last one needs none."""
    lines = Lines()
    command = ["printf", "one\\n\\n  two\\r\\n\\377\\nthree"]
    await run(folder, ["sh", "-c", '"$@" >&2', "sh", *command], sink=lines)
    assert lines == [("one", {}), ("", {}), ("  two", {}), ("\ufffd", {}), ("three", {})]


async def test_a_log_line_is_bounded(folder: Path) -> None:
    """Of a line without an end no more is held than can be kept, and one byte to show that there was more."""
    lines = Lines()
    source = "sys.stderr.write('x' * 30_000_000); sys.stderr.write('\\n' + 'y' * 10_000 + '\\nend\\n')"
    tracemalloc.start()
    try:
        await run(folder, script(folder, source), sink=lines)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    size = programs.MAX_LINE_BYTES + 1
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
    program = programs.Program(argv=["true"], env={}, folder=folder, input=b"", on_line=print, max_output_bytes=1)
    assert failure(program) == "it does not end, not even when killed"


# --- Arguments and environment -----------------------------------------------------------------------------------


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
    ],
)
def test_settings_that_cannot_work_are_refused(folder: Path, settings: dict[str, Any], key: str) -> None:
    """Nothing is guessed: a list of texts, and a mapping of names to texts."""
    with pytest.raises(InvalidConfig) as caught:
        CommandStage(**{"command": ["true"], "folder": folder, **settings})
    assert caught.value.key == key


def test_what_is_told_of_a_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its program can be executed is known without running it."""
    (folder / "score.sh").write_text("#!/bin/sh\necho 1\n")
    stage = CommandStage(command=("./score.sh", "-x"), folder=folder)
    assert (stage.kind, stage.target) == ("command", "./score.sh -x")
    assert stage.problem() == "there is no program './score.sh' that can be executed"
    (folder / "score.sh").chmod(0o755)
    assert stage.problem() is None
    monkeypatch.chdir("/")
    assert stage.problem() is None
    bare = CommandStage(command=("score.sh",), folder=folder)
    assert bare.problem() is not None
    assert CommandStage(command=("score.sh",), folder=folder, env={"PATH": str(folder)}).problem() is None
    assert stage.definition != bare.definition
    assert "canary" not in repr(CommandStage(command=("a",), folder=folder, env={"KEY": "canary"}))


# --- Ends --------------------------------------------------------------------------------------------------------


async def test_what_a_program_left_in_the_background_is_killed(folder: Path) -> None:
    """The result is there at once, although the child held the pipe, and the child is gone."""
    outcome = await run(folder, script(folder, FAMILY + "print('done', flush=True)\nos._exit(0)"))
    assert outcome == Produced("done\n")
    wait_until_gone(wait_for_pids(folder / "pids", 2))


async def test_a_child_that_left_the_group_cannot_hold_the_stage(folder: Path) -> None:
    """It escapes, as documented; nobody waits for the pipe that it holds."""
    source = FAMILY.replace("])", "], start_new_session=True)") + "print('done', flush=True)\nos._exit(0)"
    assert await run(folder, script(folder, source)) == Produced("done\n")
    _, child = wait_for_pids(folder / "pids", 2)
    assert is_alive(child)
    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    "source",
    [
        "time.sleep(1000)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('ready', 'w').close()\ntime.sleep(1000)",
        "os.close(0); os.close(1); os.close(2)\ntime.sleep(1000)",
        "signal.raise_signal(signal.SIGSTOP)",
    ],
    ids=["plain", "deaf", "silent", "stopped"],
)
async def test_a_program_and_its_children_die_when_the_stage_is_cancelled(folder: Path, source: str) -> None:
    """Asked first and killed then, whether it listens or not, with all its children."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, folder, script(folder, FAMILY + source))
        pids = await in_thread(lambda: wait_for_pids(folder / "pids", 2))
        tasks.cancel_scope.cancel()
    wait_until_gone(pids)


async def test_a_program_may_clean_up_when_it_is_told_to_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TERM comes first, and what is said from then on is dropped."""
    monkeypatch.setattr(programs, "GRACE_SECONDS", 60.0)  # a busy machine may not let it run within a second
    lines, ready = Lines(), threading.Event()

    def sink(message: str, metadata: Mapping[str, Any]) -> None:
        lines(message, metadata)
        ready.set()

    source = """
def end(*_):
    print("too late", file=sys.stderr, flush=True)
    open("cleaned", "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", file=sys.stderr, flush=True)
time.sleep(1000)
"""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(run, sink=sink), folder, script(folder, source))
        await in_thread(partial(ready.wait, 60))
        tasks.cancel_scope.cancel()
    assert (folder / "cleaned").exists()
    assert lines.texts == ["ready"]


async def test_a_program_has_no_more_time_than_its_stage(folder: Path) -> None:
    """The timeout of the stage holds for programs too."""
    outcome = await run(folder, ["sleep", "1000"], timeout=timedelta(seconds=0.2))
    assert outcome == Errored("timed out after 0.2 s")


async def test_nothing_is_left_open(folder: Path) -> None:
    """After many runs, failed ones too, there is no further descriptor and no child."""
    await run(folder, ["true"])
    before = open_files(), children()
    for command in (["true"], ["false"], ["./missing"], ["yes"]) * 5:
        await run(folder, command)
    assert (open_files(), children()) == before


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def children() -> set[str]:
    """This process's children where the system shows them, the dead that nobody took note of included."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


RUNNER = """
import sys
from pathlib import Path
import anyio
from loopkit.agents.agent import StageSpec
from loopkit.agents.calling import call
from loopkit.agents.command import CommandStage
from loopkit.agents.command import _failure as failure
from tests.agents.contexts import context
spec = StageSpec(CommandStage(command=sys.argv[2:], folder=Path(sys.argv[1])))
anyio.run(call, spec, context())
"""


@pytest.mark.chaos
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("is_deaf", [False, True], ids=["plain", "deaf"])
def test_programs_die_with_their_runner(folder: Path, number: signal.Signals, *, is_deaf: bool) -> None:
    """However the runner ends, its commands and their children end too, whether they listen or not."""
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if is_deaf else ""
    command = script(folder, deaf + FAMILY + "time.sleep(1000)")
    with subprocess.Popen([sys.executable, "-c", RUNNER, str(folder), *command]) as runner:
        pids = wait_for_pids(folder / "pids", 2)
        runner.send_signal(number)
        assert runner.wait(30) == -number
    wait_until_gone(pids)
