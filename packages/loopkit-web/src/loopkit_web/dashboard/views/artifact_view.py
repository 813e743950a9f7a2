"""Artifacts as the pages show them: rendered Markdown, a JSON tree or text, within bounds for each and for all.

The best output is what the page of an ended run shows first.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
from markupsafe import Markup

from loopkit.core import cut_json, strict_json
from loopkit.core.journal import Artifact, ArtifactInfo, ArtifactType
from loopkit.core.run import Run
from loopkit_web.dashboard.markup import display_text, json_tree, markdown
from loopkit_web.dashboard.markup.text_allowance import TextAllowance
from loopkit_web.dashboard.views.evaluations import EvaluationView

__all__ = [
    "BEST_OUTPUT_LINES",
    "MAX_CHARS",
    "PREVIEW_CHARS",
    "PREVIEW_LINES",
    "ArtifactView",
    "BestOutput",
    "ViewAllowance",
    "artifact_view",
    "artifact_views",
    "best_output",
    "find_best_output",
]

_MARKDOWN_SUFFIXES: Final = (".md", ".markdown")
PREVIEW_LINES: Final = 22
BEST_OUTPUT_LINES: Final = 80
"""Lines shown on the first screen of the run; the tab of the artifacts has all of them."""
_CHARS_PER_LINE: Final = 180
"""Characters shown for each of the lines that are shown at most, so that a preview of long lines is short too."""
PREVIEW_CHARS: Final = 2 * PREVIEW_LINES * _CHARS_PER_LINE
"""Characters of an artifact that is shown with its first lines; more need not be read."""
MAX_CHARS: Final = markdown.MAX_CHARS
"""Characters of an artifact that one page can show; more need not be read."""
_NODES_PER_LINE: Final = 5
"""Nodes shown for each of the lines that are shown at most."""
_MAX_NODES: Final = 2_000
_MAX_SECONDS: Final = 5.0


class ViewAllowance:
    """Bytes of HTML that the artifacts of one page may still take, and Markdown that may still be rendered.

    Rendering takes two seconds at most. On a machine that is so busy that they become many, the page shows plain text.
    """

    def __init__(self, *, max_bytes: int = 600_000, max_seconds: float = _MAX_SECONDS) -> None:
        self.texts = TextAllowance(max_bytes)
        self.markdown_left = 2 * MAX_CHARS
        """Characters; rendering takes about 10 microseconds each."""
        self._ends_at = time.monotonic() + max_seconds

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self._ends_at

    @property
    def is_spent(self) -> bool:
        return self.texts.left <= 0

    def may_render(self, source: str) -> bool:
        """Return whether this Markdown may be rendered, and subtract it."""
        self.markdown_left -= len(source)
        return self.markdown_left >= 0 and not self.is_late


@attrs.frozen(kw_only=True)
class ArtifactView:
    """One artifact on a page."""

    artifact: Artifact
    size: str
    source: str
    """Its text, or the beginning of it."""
    html: Markup | None = None
    """Its Markdown as sanitized HTML; None if it is not Markdown, or too much of it."""
    node: json_tree.Node | None = None
    """Its JSON as a tree; None if it is not JSON, or too much of it."""
    lines: int | None
    """Lines of the whole text; None if not all of it was read."""
    lines_shown: int
    is_cut: bool

    @property
    def anchor(self) -> str:
        """Fragment under which the artifact is found on the page of all artifacts."""
        return f"attempt-{self.artifact.attempt}-{self.artifact.artifact_type.value}"


def artifact_view(
    artifact: Artifact, *, max_lines: int | None = None, allowance: ViewAllowance | None = None
) -> ArtifactView:
    """Return an artifact as a page shows it. Rendering a long text takes time: call it from a worker thread.

    Args:
        artifact: an artifact, of whose content a beginning may have been read.
        max_lines: lines shown at most. None: as much as one page can hold.
        allowance: what the page may still hold; what the artifact takes is subtracted. None: that of a new page.
    """
    allowance = allowance or ViewAllowance()
    text = artifact.content
    beginning = _beginning(text, max_lines)
    source = allowance.texts.take(beginning) if len(beginning) > 0 else ""
    lines_shown = _count_lines(source)
    document = None if allowance.is_spent else _document(artifact)
    html = node = None
    if document is not None:
        max_nodes = _MAX_NODES if max_lines is None else max_lines * _NODES_PER_LINE
        node = json_tree.tree(document, max_nodes=max_nodes, allowance=allowance.texts)
    elif artifact.filename.endswith(_MARKDOWN_SUFFIXES) and not allowance.is_spent and allowance.may_render(source):
        html = markdown.render(source, is_late=lambda: allowance.is_late)
        size = 0 if html is None else _markup_bytes(html)
        html = html if size <= allowance.texts.left else None
        allowance.texts.left -= 0 if html is None else size
    return ArtifactView(
        artifact=artifact,
        size=_size(artifact),
        source=source,
        html=html,
        node=node,
        lines=_count_lines(text) if artifact.length is None else None,
        lines_shown=lines_shown,
        is_cut=source != text or artifact.length is not None,
    )


def _markup_bytes(html: Markup) -> int:
    """Return the bytes of text that is HTML already."""
    return len(html.encode("utf-8", "replace"))


def _beginning(text: str, max_lines: int | None) -> str:
    """Return as much of a text as is shown: whole lines, where it has more than one."""
    max_chars = MAX_CHARS if max_lines is None else max_lines * _CHARS_PER_LINE
    beginning = text[:max_chars]
    if max_lines is not None:
        return "".join(beginning.splitlines(keepends=True)[:max_lines])
    if len(text) > max_chars and "\n" in beginning:
        return beginning[: beginning.rindex("\n") + 1]
    return beginning


def _count_lines(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n"))


def _size(artifact: Artifact) -> str:
    if artifact.length is None or not artifact.content:
        return display_text.size(artifact.content)
    per_character = len(artifact.content.encode("utf-8", "replace")) / len(artifact.content)
    return f"about {display_text.size_of(round(artifact.length * per_character))}"


def _document(artifact: Artifact) -> Any:
    """Return the JSON object or list that an artifact holds, or the beginning of it; None if it holds none."""
    if not (artifact.is_json or artifact.filename.endswith(".json")):
        return None
    whole = artifact.length is None
    text = artifact.content
    document = strict_json.loads_or_text(text) if whole else cut_json.loads_beginning(text)
    return document if isinstance(document, dict | list) else None


@attrs.frozen(kw_only=True)
class BestOutput:
    """Best output of an ended run, and its score."""

    title: str
    attempt: int
    score: float | None
    view: ArtifactView


def find_best_output(run: Run, artifacts: Sequence[ArtifactInfo]) -> ArtifactInfo | None:
    """Return the output of the best attempt, else the newest one; None while the run has not ended."""
    outputs = {info.attempt: info for info in artifacts if info.artifact_type is ArtifactType.OUTPUT}
    if not run.ended or not outputs:
        return None
    return outputs.get(run.best_attempt or 0) or outputs[max(outputs)]


def best_output(
    run: Run, info: ArtifactInfo | None, view: ArtifactView | None, evaluations: Mapping[int, EvaluationView]
) -> BestOutput | None:
    """Return the best output as the page shows it.

    Args:
        info: see :func:`find_best_output`.
        view: the same output as it is shown. None: the page does not show it.
    """
    if info is None or view is None:
        return None
    evaluation = evaluations.get(info.attempt)
    score = evaluation.score if evaluation else None
    is_only = run.current_attempt == 1
    title = "Output" if is_only else "Best output" if score is not None else "Latest output"
    return BestOutput(title=title, attempt=info.attempt, score=score, view=view)


def artifact_views(
    artifacts: Sequence[Artifact], *, max_lines: int | None = None, allowance: ViewAllowance | None = None
) -> dict[int, ArtifactView]:
    """Return many artifacts as one page shows them, by artifact id; the last ones as far as the page has room."""
    allowance = allowance or ViewAllowance()
    return {artifact.id: artifact_view(artifact, max_lines=max_lines, allowance=allowance) for artifact in artifacts}
