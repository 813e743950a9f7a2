"""Options of ``run`` and ``submit`` that describe new runs, and the runs that they make."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from loopkit.core.ledger.budget import Budget
from loopkit.core.run import NewRun
from loopkit.errors import InvalidInputs, UnusableOption
from loopkit_cli import inputs
from loopkit_cli.value_types import ATTEMPTS, BUDGET, SCORE

if TYPE_CHECKING:
    from loopkit import Agent

MAX_BAD_LINES: Final = 20
"""Most bad lines of a batch that an error names."""


def new_run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that describe a new run to a command."""
    options = [
        click.option(
            "--cycle-id", metavar="C", help="Cycle id of the run; default: the next of the day, YYYY-MM-DD-NNN."
        ),
        click.option(
            "--input",
            "pairs",
            metavar="NAME=VALUE",
            multiple=True,
            help="One input, or NAME=@FILE for the content of a file: text where the schema of the agent says string, "
            "JSON where it says another type, else JSON if it parses. May be repeated.",
        ),
        click.option(
            "--inputs",
            "source",
            metavar="FILE",
            help="One JSON object with the inputs; - is stdin. --input wins over it.",
        ),
        click.option(
            "--max-attempts",
            metavar="N",
            type=ATTEMPTS,
            help="Most attempts of the run, in place of those of the agent.",
        ),
        click.option(
            "--pass-threshold",
            metavar="X",
            type=SCORE,
            help="Score from 0 to 1 that passes, in place of that of the agent.",
        ),
        click.option(
            "--title", metavar="T", help="Title of the run, at most 200 characters, in place of that of the agent."
        ),
        click.option(
            "--tag", "tags", metavar="T", multiple=True, help="Tag of the run. May be repeated, up to 20 times."
        ),
        click.option(
            "--budget",
            metavar="LIMITS",
            type=BUDGET,
            help="What the attempts may take together, such as usd=0.5,tokens=80000,seconds=900; replaces those "
            "limits of the agent that it names.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@attrs.frozen(kw_only=True)
class NewRunOptions:
    """Values of the options that describe new runs."""

    cycle_id: str | None = None
    pairs: tuple[str, ...] = ()
    source: str | None = None
    max_attempts: int | None = None
    pass_threshold: float | None = None
    title: str | None = None
    tags: tuple[str, ...] = ()
    budget: Budget | None = None

    def to_run(self, agent: "Agent", *, key: str | None = None) -> NewRun:
        """Return the one new run that the options describe.

        Raises:
            InvalidInputs: the inputs do not fit the agent's schema.
            UnusableOption: an option cannot work.
        """
        given = {} if self.source is None else inputs.from_file(self.source)
        try:
            wins = inputs.from_options(self.pairs, agent.inputs)
        except inputs.NotJson as error:
            raise self._with_other_faults(agent, given, error) from error
        return self._new_run(agent, {**given, **wins}, key)

    def _with_other_faults(self, agent: "Agent", given: Mapping[str, Any], error: inputs.NotJson) -> UnusableOption:
        """Return the error with what the schema finds in the other inputs, so that all is said at once."""
        try:
            self._new_run(agent, {**given, **error.inputs})
        except InvalidInputs as invalid:
            others = [str(fault) for fault in invalid.faults if fault.pointer not in error.pointers]
            if others:
                return UnusableOption("\n  ".join(["the inputs do not fit the agent", *error.lines, *others]))
        return error

    def to_batch(self, agent: "Agent", source: str) -> list[NewRun]:
        """Return a new run for each line of a file of JSON lines.

        Raises:
            UnusableOption: a line, named by its number, cannot be queued, or an option cannot work.
        """
        wins = inputs.from_options(self.pairs, agent.inputs)
        new, bad = [], []
        for number, line in inputs.from_batch(source):
            try:
                if isinstance(line, ValueError):
                    bad.append(f"line {number}: {line}")
                else:
                    new.append(self._new_run(agent, {**line, **wins}))
            except InvalidInputs as error:
                bad.append(f"line {number}: {'; '.join(map(str, error.faults))}")
        if bad:
            more = [f"and {len(bad) - MAX_BAD_LINES} more"] if len(bad) > MAX_BAD_LINES else []
            lines = "\n  ".join([*bad[:MAX_BAD_LINES], *more])
            raise UnusableOption(f"--batch {source}: nothing was queued\n  {lines}")
        return new

    def _new_run(self, agent: "Agent", given: Mapping[str, Any], key: str | None = None) -> NewRun:
        from loopkit import new_run

        return new_run(
            agent,
            given,
            cycle_id=self.cycle_id,
            max_attempts=self.max_attempts,
            pass_threshold=self.pass_threshold,
            title=self.title,
            tags=self.tags or None,
            budget=self.budget,
            idempotency_key=key,
        )
