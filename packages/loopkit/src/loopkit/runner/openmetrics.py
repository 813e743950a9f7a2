"""Text form of metrics: OpenMetrics 1.0, which Prometheus and its kin read.

Source: OpenMetrics 1.0, section "Text Format". A family is written as its ``# TYPE`` and ``# HELP`` and then all its
samples; the text ends with ``# EOF``.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

__all__ = ["MEDIA_TYPE", "Sample", "family_lines", "openmetrics_text"]

MEDIA_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Sample = tuple[str, Mapping[str, str], float]
"""Suffix of the family's name (``_total``, ``_bucket``, empty), labels, and value."""


def family_lines(name: str, kind: str, help_text: str, samples: Iterable[Sample]) -> Iterator[str]:
    """Yield the lines of one family of samples.

    Args:
        name: name of the family, without the suffix of its samples.
        kind: ``counter``, ``gauge`` or ``histogram``.
        help_text: one sentence.
        samples: all samples of the family.
    """
    yield f"# TYPE {name} {kind}"
    yield f"# HELP {name} {help_text}"
    for suffix, labels, value in samples:
        pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"{name}{suffix}{{{pairs}}} {value:.17g}" if pairs else f"{name}{suffix} {value:.17g}"


def openmetrics_text(lines: Iterable[str]) -> str:
    """Return the whole text of the lines of all families."""
    return "\n".join([*lines, "# EOF", ""])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
