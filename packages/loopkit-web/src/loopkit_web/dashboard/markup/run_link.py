"""Ids of runs on pages that show many of them: linked as far as a page has room for whole ids."""

from typing import Final
from urllib.parse import quote

import attrs

from loopkit.stores.text_cuts import is_cut_id
from loopkit_web.dashboard.markup.text_allowance import TextAllowance, cut, html_bytes

__all__ = ["RunLink", "run_link"]

_MAX_CHARS: Final = 100
"""Characters of an id that are shown if it is not whole."""
_MOST_COPIES: Final = 4
"""Most places of one row that hold an id beside its address: names of elements, values and labels."""


@attrs.frozen
class RunLink:
    """Id of a run as a page shows it."""

    text: str
    """The id, or its beginning with an ellipsis."""
    is_whole: bool
    """True if the text is the whole id. Otherwise the page must neither link to the run nor offer an action on it."""


def run_link(run_id: str, allowance: TextAllowance) -> RunLink:
    """Return how a page shows the id of a run that it has from a list; a whole id takes its bytes off the allowance."""
    size = len(quote(run_id, safe="")) + _MOST_COPIES * html_bytes(run_id)
    if is_cut_id(run_id) or size > allowance.left:
        return RunLink(cut(run_id, _MAX_CHARS), is_whole=False)
    allowance.left -= size
    return RunLink(run_id, is_whole=True)
