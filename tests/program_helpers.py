"""Results of ``loopkit-cli``, called in this process or in one of its own."""

import json
from typing import Any

import attrs


@attrs.frozen
class Finished:
    """Exit status and output of one call of the program."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The only JSON document on stdout."""
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[str]:
        """Lines on stdout."""
        return self.stdout.splitlines()
