"""Tests of artifacts as the pages show them."""

from loopkit_web.dashboard.views.artifact_view import ViewAllowance, artifact_view, artifact_views
from tests.web.dashboard.value_helpers import make_artifact


def test_kind_of_view_follows_the_filename_and_the_content() -> None:
    """Markdown is rendered, JSON is a tree, anything else (JSON that cannot be parsed, too) is plain text."""
    markdown = artifact_view(make_artifact("# T"))
    assert (str(markdown.html).strip(), markdown.node) == ("<h3>T</h3>", None)
    tree = artifact_view(make_artifact('{"a": 1}', filename="attempt-1.json"))
    assert tree.html is None
    assert tree.node is not None
    for text in (make_artifact("# T", filename="a.txt"), make_artifact("{", filename="a.json")):
        plain = artifact_view(text)
        assert (plain.html, plain.node, plain.source) == (None, None, text.content)


def test_preview_has_the_first_lines() -> None:
    """A preview is cut after its lines, and says how many there are."""
    artifact = make_artifact("\n".join(map(str, range(30))))
    view = artifact_views([artifact], max_lines=3)[artifact.id]
    assert (view.source, view.lines_shown, view.lines, view.is_cut) == ("0\n1\n2\n", 3, 30, True)
    whole = artifact_view(artifact)
    assert (whole.source, whole.lines, whole.is_cut) == (artifact.content, 30, False)


def test_long_artifact_is_cut_at_a_line() -> None:
    """Without a number of lines, a text is cut at the last line that the page can hold."""
    view = artifact_view(make_artifact("x" * 99 + "\n" + ("y" * 99 + "\n") * 700, filename="a.txt"))
    assert view.is_cut
    assert len(view.source) == 64_000
    assert view.lines_shown == 640


def test_markdown_is_shown_plain_when_its_time_is_over() -> None:
    """On a busy machine a page is sent all the same, with the text as it is."""
    view = artifact_view(make_artifact("# T"), allowance=ViewAllowance(max_seconds=0))
    assert (view.html, view.source, view.is_cut) == (None, "# T", False)
