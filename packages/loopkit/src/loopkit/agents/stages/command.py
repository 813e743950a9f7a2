"""Stages that are programs: one JSON document or a text on stdin, the result on stdout, log lines on stderr."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

import anyio
import attrs

from loopkit.agents.context import StageContext, StagePlace, StageRole
from loopkit.agents.error_text import kind_of
from loopkit.agents.setting_checks import text
from loopkit.agents.stages.command_output import JsonLines, Output, PrintedText, WholeOutput
from loopkit.agents.stages.process import MAX_LINE_BYTES, Program
from loopkit.agents.stages.threads import THREADS, wait_until_done
from loopkit.agents.template import Template, closed_inputs, declared_inputs, read_template
from loopkit.agents.usage.evaluation_usage import book_readable
from loopkit.agents.usage.usage_file import booked_usage_file
from loopkit.core import strict_json
from loopkit.core.run import Stage
from loopkit.errors import InvalidConfig, StageFailed

__all__ = ["CommandStage"]

MAX_GRACE_SECONDS: Final = 1e9

OUTPUT_FILE: Final = "{output_file}"
"""Text in an argument that stands for the path of a file with the judged output."""

_POINTER: Final = re.compile(r"(/([^~/]|~[01])*)*")
"""Source: RFC 6901, section 3."""


def _check_command(_: object, attribute: Any, value: Any) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        raise InvalidConfig("must be a list of strings: the program and its arguments", key=attribute.name)
    if not value or not value[0] or any(map(strict_json.text_fault, value)):
        raise InvalidConfig("must begin with a program and must not contain NUL", key=attribute.name)


def _check_env(_: object, attribute: Any, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise InvalidConfig("must map names to strings", key=attribute.name)
    for name, item in value.items():
        if not isinstance(name, str) or not name or "=" in name or strict_json.text_fault(name):
            raise InvalidConfig("is not a valid name of an environment variable", key=f"{attribute.name}.{name}")
        if not isinstance(item, str) or strict_json.text_fault(item):
            raise InvalidConfig("must be text (put it in quotes)", key=f"{attribute.name}.{name}")


def _as_grace(value: Any) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise InvalidConfig(f"must be a number of seconds, not {kind_of(value)}", key="grace")
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not 0 <= seconds <= MAX_GRACE_SECONDS:
        raise InvalidConfig(f"must be in 0..{MAX_GRACE_SECONDS:g} (seconds)", key="grace")
    return timedelta(seconds=seconds)


def _check_stdout(_: object, attribute: Any, value: Any) -> None:
    if value != "jsonl":
        raise InvalidConfig("must be jsonl", key=attribute.name)


def _check_pointer(_: object, attribute: Any, value: Any) -> None:
    text()(_, attribute, value)
    if not _POINTER.fullmatch(value):
        raise InvalidConfig("must be a JSON pointer, such as /result or /item/text", key=attribute.name)


def _optional_field(check: Any) -> Any:
    return attrs.field(default=None, validator=attrs.validators.optional(check))


@attrs.frozen(kw_only=True, eq=False)
class CommandStage:
    """A stage that is a program, started without a shell. Nothing that it started outlives it or the runner."""

    command: Sequence[str] = attrs.field(validator=_check_command)
    """Program and its arguments. A relative path is relative to ``folder``."""
    env: Mapping[str, str] = attrs.field(factory=dict, validator=_check_env, repr=False)
    """Variables that are added to the runner's environment without ``LOOPKIT_*``."""
    stdin: str | None = _optional_field(text(may_be_empty=False))
    """File of a template, relative to ``folder``, that is written to stdin in place of the JSON document."""
    stdout: str | None = _optional_field(_check_stdout)
    """``jsonl``: lines of JSON, of which the last object holds the result; None: everything is the result."""
    result: str | None = _optional_field(_check_pointer)
    """JSON pointer to the result in an object of ``jsonl``; None: ``/result`` of the last one."""
    workdir: str | None = _optional_field(text(may_be_empty=False))
    """Working directory of the program, relative to ``folder``; None: ``folder``."""
    grace: timedelta = attrs.field(default=timedelta(seconds=5), converter=_as_grace)
    """Time between SIGTERM, which asks the program to end, and SIGKILL; may be given in seconds."""
    folder: Path
    """Folder to which the paths of these settings are relative, that of the program included."""
    place: StagePlace | None = attrs.field(default=None, repr=False)
    """Place in an agent, which the agent sets; None: it is not known."""

    def __attrs_post_init__(self) -> None:
        if self.result is not None and self.stdout is None:
            raise InvalidConfig("works only with `stdout: jsonl`", key="result")

    @property
    def kind(self) -> str:
        return "command"

    @property
    def target(self) -> str:
        return " ".join(self.command)

    @property
    def definition(self) -> str:
        named = {"stdin": self.stdin, "stdout": self.stdout, "result": self.result, "workdir": self.workdir}
        settings: dict[str, object] = {name: value for name, value in named.items() if value is not None}
        if self.stdin is not None:
            with suppress(StageFailed):
                settings["template"] = self._template.text
        return strict_json.dumps([*self.command, dict(self.env), *([settings] if settings else [])])

    @cached_property
    def _template(self) -> Template:
        """The template of stdin, read once, so that it is the one in the definition."""
        assert self.stdin is not None
        return read_template(self.folder, self.stdin)

    def for_agent(self, place: StagePlace) -> Self:
        """Return the stage of an agent."""
        return attrs.evolve(self, place=place)

    @property
    def _schema(self) -> Mapping[str, Any]:
        """JSON Schema of the inputs."""
        return {} if self.place is None else self.place.inputs

    def problem(self) -> str | None:
        program = self.command[0]
        place = self.folder / program if "/" in program else program
        if not shutil.which(place, path=self._environment().get("PATH", os.defpath)):
            return f"there is no executable program {program!r}"
        if not self._working_folder.is_dir():
            return f"there is no folder {self.workdir!r} (workdir)"
        try:
            return None if self.stdin is None else self._template.problem(closed_inputs(self._schema))
        except StageFailed as error:
            return str(error)

    async def __call__(self, context: StageContext) -> object:
        output = self._output_reader(context)
        try:
            program = await self._run(context, on_line=context.log, on_output=output.feed)
        finally:
            if reported := output.usage():
                book_readable(context, reported.get("usage"), "the program's usage", usd=reported.get("total_cost_usd"))
        if usage := output.usage():
            context.log(f"{self.command[0]} reported its usage", **usage)
        if program.returncode != 0:
            raise StageFailed(_failure_message(program, output.reason()))
        return output.evaluation() if context.stage is Stage.EVALUATING else output.output()

    async def check(self, context: StageContext) -> tuple[bool, str]:
        """Run the program as a check of the context's output; return whether it holds, and what the program printed.

        Raises:
            StageFailed: it ended with another status than 0 and 1, or cannot be run.
        """
        printed = PrintedText()

        def take_line(line: str) -> None:
            printed.feed_line(line)
            context.log(line)

        program = await self._run(context, on_line=take_line, on_output=printed.feed)
        if program.returncode not in (0, 1):
            raise StageFailed(_failure_message(program))
        return program.returncode == 0, "" if program.returncode == 0 else printed.text()

    async def _run(
        self, context: StageContext, *, on_line: Callable[[str], None], on_output: Callable[[bytes], None]
    ) -> Program:
        """Run the program to its end and return it, with its exit status.

        Raises:
            StageError: it cannot be run, or wrote too much.
        """
        with self._output_file(context) as path, booked_usage_file(context) as usage_path:
            program = Program(
                argv=self._arguments(path),
                env=self._environment(),
                folder=self._working_folder,
                input=self._input(context, usage_path),
                on_line=on_line,
                on_output=on_output,
                grace_seconds=self.grace.total_seconds(),
            )
            future = THREADS.call(program.run)
            try:
                await wait_until_done(future)
            finally:
                program.stop()
                with anyio.CancelScope(shield=True):  # not for long: a program that does not stop is killed
                    await wait_until_done(future)
            future.result()
            return program

    @contextmanager
    def _output_file(self, context: StageContext) -> Iterator[Path | None]:
        """Write the judged output to a file in a folder of its own, which lasts as long as this context.

        There is none where no argument names it.
        """
        if context.stage is not Stage.EVALUATING or not any(OUTPUT_FILE in part for part in self.command[1:]):
            yield None
            return
        is_text = isinstance(context.output, str)
        suffix = ".json" if not is_text else ".md" if self.place is None else self.place.output_suffix
        # A judge shall not know how many attempts there were.
        is_judge = self.place is not None and self.place.role is StageRole.JUDGE
        name = f"{'output' if is_judge else f'attempt-{context.attempt}'}{suffix}"
        with TemporaryDirectory(prefix="loopkit-", ignore_cleanup_errors=True) as folder:
            path = Path(folder, name)
            path.write_bytes((context.output if is_text else strict_json.dumps(context.output)).encode())
            yield path

    @property
    def _working_folder(self) -> Path:
        return self.folder / (self.workdir or "")

    def _arguments(self, output_file: Path | None) -> Sequence[str]:
        program, *rest = self.command
        if output_file is not None:
            rest = [part.replace(OUTPUT_FILE, str(output_file)) for part in rest]
        if self.workdir is not None and "/" in program:
            program = str(self.folder / program)
        return [program, *rest]

    def _input(self, context: StageContext, usage_path: Path) -> bytes:
        if self.stdin is not None:
            return self._template.fill(context, declared=declared_inputs(self._schema)).encode()
        return strict_json.dumps({**context.document(), "usageFile": str(usage_path)}).encode() + b"\n"

    def _output_reader(self, context: StageContext) -> Output:
        if self.stdout is None:
            return WholeOutput()
        return JsonLines(context.log, max_line_chars=MAX_LINE_BYTES, pointer=self.result)

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOOPKIT_")}
        return {**inherited, **self.env}


def _failure_message(program: Program, reason: str = "") -> str:
    status = program.returncode
    if program.asked_terminal:
        end = "it asked on the terminal, where a stage has nobody to answer"
    elif status is None:
        end = "the program does not end, not even when killed"
    elif status < 0:
        end = f"ended by signal {-status}"
        with suppress(ValueError):
            end = f"ended by {signal.Signals(-status).name}"
    else:
        end = f"exit status {status}"
    return ": ".join(part for part in (end, reason or program.last_line.strip()) if part)
