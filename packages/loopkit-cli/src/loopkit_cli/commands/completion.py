"""The command ``completion``: completion for the user's shell."""

import click

from loopkit_cli import output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.settings import Settings


@command(
    "completion",
    examples="""
        loopkit-cli completion bash >> ~/.bashrc
        loopkit-cli completion zsh >> ~/.zshrc
        loopkit-cli completion fish > ~/.config/fish/completions/loopkit-cli.fish
    """,
)
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@pass_settings
def completion(_: Settings, shell: str) -> None:
    """Print the completion script of a shell.

    SHELL is bash, zsh or fish. Commands, options and the names of agents are completed.
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root()
    complete = get_completion_class(shell)
    assert complete is not None
    assert root.info_name is not None
    output.write_script(complete(root.command, {}, root.info_name, "_LOOPKIT_CLI_COMPLETE").source())
