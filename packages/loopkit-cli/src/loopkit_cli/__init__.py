"""The command line of loopkit. This module imports nothing slow, so that Ctrl+C is met before the program is loaded."""

import signal


def run_as_program() -> int:
    """Load and run the program as the whole of this process, and return its exit status."""
    try:
        from loopkit_cli import main

        return main.run_as_program()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
