"""Tests of JSON as a tree."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loopkit_web.dashboard.markup import json_tree
from loopkit_web.dashboard.markup.json_tree import NodeKind
from loopkit_web.dashboard.markup.text_allowance import TextAllowance, html_bytes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


def count_nodes(node: json_tree.Node) -> int:
    return 1 + sum(map(count_nodes, node.children))


@given(JSON)
def test_tree_has_a_node_for_each_value(value: Any) -> None:
    """An object has as many children as values, with their names."""
    node = json_tree.tree(value)
    if isinstance(value, dict):
        assert [child.key for child in node.children] == list(value)
        assert node.count == len(value)


def test_tree_is_bounded() -> None:
    """A document of a million values, or one nested without end, becomes a page that can be sent."""
    assert count_nodes(json_tree.tree([[0] * 1000] * 1000)) < 5_000
    deep: Any = 0
    for _ in range(500):
        deep = {"k": deep}
    assert count_nodes(json_tree.tree(deep)) < 60


def test_json_inside_a_text_is_a_tree() -> None:
    """A string that holds a document is shown as a tree, and marked as one."""
    node = json_tree.tree({"reply": '{"a": [1, 2]}', "not": "{a}"})
    assert node.children[0].is_inside_text
    assert node.children[0].children[0].key == "a"
    assert node.children[1].kind is NodeKind.STRING


def test_texts_of_a_tree_are_bounded_together() -> None:
    """However many long texts and keys a document has, its tree takes about what is allowed."""
    document = {f"{'k' * 500}{number}": '"' * 5_000 for number in range(2_000)}
    node = json_tree.tree(document, allowance=TextAllowance(50_000))
    texts = [text for child in node.children for text in (child.key or "", child.text)]
    assert 40_000 < sum(html_bytes(text) for text in texts) < 52_000


def test_documents_inside_texts_are_parsed_within_a_bound() -> None:
    """Texts that only look like documents cost no more than the bound allows."""
    texts = ["[" + "1," * 100_000 + "]"] * 50
    assert [child.is_inside_text for child in json_tree.tree(texts).children] == [False] * 50
