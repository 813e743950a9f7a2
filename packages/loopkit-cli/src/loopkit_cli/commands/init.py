"""The command ``init``: a small working agents.yaml."""

import shlex
from importlib import resources
from pathlib import Path
from typing import Final

import click

from loopkit_cli import exits, output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.settings import Settings

STARTER: Final = ("agents.yaml", "hello.py")


@command(
    "init",
    examples="""
        loopkit-cli init
        loopkit-cli init greetings
    """,
)
@click.argument("folder", metavar="[DIR]", default=".")
@pass_settings
def init(settings: Settings, folder: str) -> None:
    """Write a small working agents.yaml with its stages.

    They are written to DIR, by default the current folder. Nothing is overwritten.
    """
    target = Path(folder)
    paths = [target / name for name in STARTER]
    if existing := [str(path) for path in paths if path.exists() or path.is_symlink()]:
        verb = "exists" if len(existing) == 1 else "exist"
        raise exits.Refused(f"{' and '.join(existing)} already {verb}; nothing was written")
    target.mkdir(parents=True, exist_ok=True)
    for path in paths:
        content = resources.files("loopkit_cli").joinpath("starter", path.name).read_text(encoding="utf-8")
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    if settings.as_json:
        output.write_json({"files": [str(path) for path in paths]})
        return
    for path in paths:
        output.write_line(str(path))
    prefix = "" if target == Path() else f"cd {shlex.quote(folder)} && "
    output.note(f"Try it:  {prefix}loopkit-cli run hello --input name=World")
