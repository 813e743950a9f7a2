"""What ``run`` and ``submit`` ask for: the options of a new run, and the runs that they come to."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from loopkit.core.run import NewRun
from loopkit.errors import InvalidInputs, UnusableOption
from loopkit_cli import inputs
from loopkit_cli.options import ATTEMPTS, SCORE

if TYPE_CHECKING:
    from loopkit.agents import Agent

MAX_TOLD: Final = 20
"""How many bad lines of a batch are told of."""


def asking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what a new run is to be."""
    options = [
        click.option("--cycle-id", metavar="C", help="The run's cycle id; by default the day's next, YYYY-MM-DD-NNN."),
        click.option(
            "--input",
            "pairs",
            metavar="NAME=VALUE",
            multiple=True,
            help="One input, or NAME=@FILE for a file's content: text where the agent's schema says string, "
            "JSON where it says another type, else JSON if it can be read as such. May be repeated.",
        ),
        click.option(
            "--inputs", "source", metavar="FILE", help="One JSON object with inputs; - is stdin. --input wins over it."
        ),
        click.option(
            "--max-attempts", metavar="N", type=ATTEMPTS, help="How many attempts the run has, instead of the agent's."
        ),
        click.option(
            "--pass-threshold", metavar="X", type=SCORE, help="The score, 0 to 1, that passes, instead of the agent's."
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@attrs.frozen(kw_only=True)
class Asked:
    """What the options say about the runs to be made."""

    cycle_id: str | None = None
    pairs: tuple[str, ...] = ()
    source: str | None = None
    max_attempts: int | None = None
    pass_threshold: float | None = None

    def one(self, agent: "Agent") -> NewRun:
        """Give the one run that is asked for.

        Raises:
            InvalidInputs: the inputs do not fit the agent's schema.
            UnusableOption: an option cannot work.
        """
        given = {} if self.source is None else inputs.from_file(self.source)
        return self._new_run(agent, {**given, **inputs.from_options(self.pairs, agent.inputs)})

    def batch(self, agent: "Agent", source: str) -> list[NewRun]:
        """Give a run for each line of a file of JSON lines.

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
            more = [f"and {len(bad) - MAX_TOLD} more"] if len(bad) > MAX_TOLD else []
            told = "\n  ".join([*bad[:MAX_TOLD], *more])
            raise UnusableOption(f"--batch {source}: nothing was queued\n  {told}")
        return new

    def _new_run(self, agent: "Agent", given: Mapping[str, Any]) -> NewRun:
        from loopkit.calls import new_run

        return new_run(
            agent,
            given,
            cycle_id=self.cycle_id,
            max_attempts=self.max_attempts,
            pass_threshold=self.pass_threshold,
        )
