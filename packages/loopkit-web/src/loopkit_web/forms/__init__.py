"""Forms made from a JSON Schema, and inputs read back from them. The server does both: nothing here needs a script."""

from loopkit_web.forms.controls import Control, controls_of
from loopkit_web.forms.filling import Raw, given, raw_of, read, with_row, without_row

__all__ = ["Control", "Raw", "controls_of", "given", "raw_of", "read", "with_row", "without_row"]
