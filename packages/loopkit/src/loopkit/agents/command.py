"""Stages that are programs: one JSON document on stdin, the result on stdout, log lines on stderr."""

import json
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import attrs

from loopkit.agents.context import StageContext
from loopkit.agents.programs import Program
from loopkit.agents.threads import THREADS, settled
from loopkit.core import plain
from loopkit.core.run import Stage
from loopkit.errors import BadOutput, BadScore, InvalidConfig, StageFailed

__all__ = ["CommandStage"]


def _check_command(_: object, attribute: Any, value: Any) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        raise InvalidConfig("must be a list of texts: the program and its arguments", key=attribute.name)
    if not value or not value[0] or any(map(plain.text_fault, value)):
        raise InvalidConfig("must begin with a program, and hold no NUL", key=attribute.name)


def _check_env(_: object, attribute: Any, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise InvalidConfig("must map names to texts", key=attribute.name)
    for name, text in value.items():
        if not isinstance(name, str) or not name or "=" in name or plain.text_fault(name):
            raise InvalidConfig("is no name of an environment variable", key=f"{attribute.name}.{name}")
        if not isinstance(text, str) or plain.text_fault(text):
            raise InvalidConfig("must be text (put it in quotes)", key=f"{attribute.name}.{name}")


@attrs.frozen(kw_only=True, eq=False)
class CommandStage:
    """A stage that is a program, started without a shell, in a process group that never outlives the runner."""

    command: tuple[str, ...] = attrs.field(validator=_check_command)
    """The program and its arguments. A relative path is relative to ``folder``."""
    env: Mapping[str, str] = attrs.field(factory=dict, validator=_check_env, repr=False)
    """Added to the runner's environment, which it gets without ``LOOPKIT_*``."""
    folder: Path
    """Where it runs."""

    @property
    def kind(self) -> str:
        return "command"

    @property
    def target(self) -> str:
        return " ".join(self.command)

    @property
    def definition(self) -> str:
        return plain.dumps([*self.command, dict(self.env)])

    def problem(self) -> str | None:
        program = self.command[0]
        place = self.folder / program if "/" in program else program
        if shutil.which(place, path=self._environment().get("PATH", os.defpath)):
            return None
        return f"there is no program {program!r} that can be executed"

    async def __call__(self, context: StageContext) -> object:
        program = Program(
            argv=self.command,
            env=self._environment(),
            folder=self.folder,
            input=plain.dumps(context.document()).encode() + b"\n",
            on_line=context.log,
            max_output_bytes=plain.MAX_OUTPUT_BYTES,
        )
        running = THREADS.call(program.run)
        try:
            await settled(running)
        finally:
            program.stop()
            with anyio.CancelScope(shield=True):  # not for long: a program that does not stop is killed
                await settled(running)
        output = running.result()
        if program.returncode != 0:
            raise StageFailed(_failure(program))
        return _verdict(output) if context.stage is Stage.EVALUATING else _text(output)

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOOPKIT_")}
        return {**inherited, **self.env}


def _failure(program: Program) -> str:
    number = program.returncode
    if number is None:
        how = "it does not end, not even when killed"
    elif number < 0:
        how = f"ended by signal {-number}"
        with suppress(ValueError):
            how = f"ended by {signal.Signals(-number).name}"
    else:
        how = f"exit status {number}"
    return ": ".join(part for part in (how, program.last_line.strip()) if part)


def _text(output: bytes) -> str:
    try:
        return output.decode()
    except UnicodeDecodeError as error:
        raise BadOutput("invalid output: stdout is not UTF-8") from error


def _verdict(output: bytes) -> object:
    try:
        return json.loads(output)
    except (ValueError, RecursionError) as error:
        raise BadScore("invalid evaluation: stdout is not JSON") from error
