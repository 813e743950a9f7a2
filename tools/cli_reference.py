"""Generator of docs/reference/cli.md from the commands: `python tools/cli_reference.py`."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from loopkit_cli import exits
from loopkit_cli.main import PROGRAM, program
from loopkit_cli.settings import SHARED

PAGE = Path(__file__).parent.parent / "docs/reference/cli.md"

INTRODUCTION = f"""\
# Command line

`{PROGRAM}` runs, watches and works runs of agents. This page is made from the program's own help
(`python tools/cli_reference.py`), so it says what `{PROGRAM} COMMAND --help` says.

Results go to stdout; progress, logs and errors go to stderr. With `--json` stdout holds one JSON document and nothing
else (`events --follow`: one a line), and on an error it is empty. Control characters in anything that a stage or
another program wrote never reach a terminal.

## Exit status

| status | meaning |
|---|---|
"""

STATUSES = {
    str(exits.DONE): "done; `run`: the run passed",
    str(exits.REFUSED): "refused, not found, `verify` found something, a stage cannot be loaded; `run`: the run failed",
    str(exits.USAGE): "bad usage, configuration, database or inputs, or an unknown agent",
    str(exits.NOT_CLAIMED): "`run`: the run could not be claimed, or was lost to another runner",
    str(exits.CANCELLED): "`run`: the run was cancelled",
    "128+N": "ended by signal N; `run`: the run was given back to the queue",
}


def render() -> str:
    """Return the whole page."""
    lines = [INTRODUCTION.rstrip("\n"), *(f"| {status} | {meaning} |" for status, meaning in STATUSES.items())]
    lines += [
        "",
        "## Options of every command",
        "",
        "They may also be written before the command; those after it win.",
        "",
    ]
    with click.Context(program, info_name=PROGRAM) as root:
        lines += _options(SHARED, root)
        for name in program.list_commands(root):
            command = program.get_command(root, name)
            assert command is not None
            with click.Context(command, parent=root, info_name=name) as context:
                lines += _command(command, context)
    return "\n".join(lines).rstrip() + "\n"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join([PROGRAM, str(command.name), *command.collect_usage_pieces(context)])
    yield from ("", f"## {command.name}", "", f"`{usage}`", "", inspect.cleandoc(command.help or ""), "")
    own = [param for param in command.params if isinstance(param, click.Option) and param not in SHARED]
    if own:
        yield from (*_options(own, context), "")
    examples = (command.epilog or "").partition("Examples:\n")[2]
    yield from ("```sh", inspect.cleandoc(examples), "```")


def _options(options: tuple[click.Option, ...] | list[click.Option], context: click.Context) -> Iterator[str]:
    yield from ("| option | what |", "|---|---|")
    for option in options:
        record = option.get_help_record(context)
        assert record is not None
        names, text = record
        yield f"| `{names}` | {_cell(text)} |"


def _cell(text: str) -> str:
    """Return a help text as a table cell: notes in brackets as code, pipes escaped."""
    text = text.replace("|", "\\|").replace("  [", " [")
    return re.sub(r"\[((?:env var|default)[^\]]*)\]", r"(\1)", text)


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render(), encoding="utf-8")
