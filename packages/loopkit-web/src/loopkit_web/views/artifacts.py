"""Artifacts as the pages show them: rendered, as a tree, or as plain text; never more of one than a page can bear."""

from collections.abc import Sequence
from typing import Any, Final

import attrs
from markupsafe import Markup

from loopkit.core import plain
from loopkit.core.journal import Artifact, ArtifactType
from loopkit_web.rendering import json_tree, markdown, words

__all__ = ["MARKDOWN", "PREVIEW_LINES", "Shown", "show", "show_all"]

MARKDOWN: Final = (".md", ".markdown")
PREVIEW_LINES: Final = 22
_PREVIEW_CHARS: Final = 4_000
_WHOLE_CHARS: Final = markdown.MAX_CHARS
_MAX_TREE_CHARS: Final = 512_000


@attrs.frozen(kw_only=True)
class Shown:
    """One artifact on a page."""

    artifact: Artifact
    size: str
    source: str
    """Its text, or the beginning of it."""
    html: Markup | None = None
    """Its Markdown, rendered and made safe."""
    node: json_tree.Node | None = None
    """Its JSON."""
    lines: int
    lines_shown: int
    is_cut: bool

    @property
    def anchor(self) -> str:
        return anchor(self.artifact)

    @property
    def is_output(self) -> bool:
        return self.artifact.artifact_type is ArtifactType.OUTPUT


def anchor(artifact: Artifact) -> str:
    """Give where an artifact stands on its page."""
    return f"attempt-{artifact.attempt}-{artifact.artifact_type.value}"


def show(artifact: Artifact, *, lines: int | None = None) -> Shown:
    """Give an artifact as a page shows it. Takes a while for much text: not for the event loop.

    Args:
        lines: how many of its lines, at most; None: as much as a page can bear.
    """
    text = artifact.content
    source, shown, count = _beginning(text, lines)
    is_cut = len(source) < len(text)
    document = _document(artifact, text)
    is_tree = document is not None
    return Shown(
        artifact=artifact,
        size=words.size(text),
        source=source,
        html=markdown.render(source) if not is_tree and artifact.filename.endswith(MARKDOWN) else None,
        node=json_tree.tree(document) if is_tree else None,
        lines=count,
        lines_shown=shown,
        is_cut=is_cut,
    )


def show_all(artifacts: Sequence[Artifact], *, lines: int | None = None) -> dict[int, Shown]:
    """Give many artifacts, by their id."""
    return {artifact.id: show(artifact, lines=lines) for artifact in artifacts}


def _beginning(text: str, lines: int | None) -> tuple[str, int, int]:
    """Give the beginning of a text, how many lines that is, and how many there are."""
    count = text.count("\n") + (not text.endswith("\n"))
    most = _WHOLE_CHARS if lines is None else _PREVIEW_CHARS
    if len(text) <= most and (lines is None or count <= lines):
        return text, count, count
    kept = text[:most]
    if lines is not None:
        kept = "".join(kept.splitlines(keepends=True)[:lines])
    elif "\n" in kept:
        kept = kept[: kept.rindex("\n") + 1]
    return kept, kept.count("\n") + (not kept.endswith("\n")), count


def _document(artifact: Artifact, text: str) -> Any:
    """Give the JSON object or list that an artifact is; None where it is none, or too much of one."""
    if not (artifact.is_json or artifact.filename.endswith(".json")) or len(text) > _MAX_TREE_CHARS:
        return None
    document = plain.loads(text)
    return document if isinstance(document, dict | list) else None
