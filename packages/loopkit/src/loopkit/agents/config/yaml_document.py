"""YAML documents as plain data with the line of each value; no duplicate keys, no aliases, bounded depth."""

import json
from collections.abc import Iterable, Set
from typing import TYPE_CHECKING, Any, Final

from loopkit.agents.error_text import clean_text, kind_of
from loopkit.errors import InvalidConfig

if TYPE_CHECKING:
    import yaml

__all__ = ["Document", "read_document"]

MAX_DEPTH: Final = 64

_Path = tuple[str, ...]


class Document:
    """Data of a file, with the lines of its values."""

    def __init__(self, file: str, root: object, lines: dict[_Path, int], typed_texts: dict[_Path, str]) -> None:
        self.file = file
        self.root = root
        self._lines = lines
        self._typed_texts = typed_texts

    def typed_text(self, path: Iterable[str]) -> str | None:
        """Return the text of a value that YAML 1.1 took for something else, and prints in another way; else None."""
        return self._typed_texts.get(tuple(path))

    def fault(self, path: Iterable[str], reason: str) -> InvalidConfig:
        """Build the error for the value at ``path``, with its line or that of the innermost collection around it.

        Where YAML 1.1 made something else of the text in the file, the error says so: ``NO`` is false, 1.10 is 1.1.
        """
        path = tuple(path)
        if (text := self._typed_texts.get(path)) is not None:
            reason = f"{reason} ({clean_text(text, max_chars=60)}; put it in quotes where a text is meant)"
        place = path
        while place not in self._lines and place:
            place = place[:-1]
        key = clean_text(".".join(path)) or None
        return InvalidConfig(reason, file=self.file, line=self._lines.get(place), key=key)

    def mapping(self, path: _Path, value: object, *, known: Set[str] | None = None) -> dict[str, Any]:
        """Return ``value``, which is at ``path``, as a mapping; with ``known``, without any other keys.

        Raises:
            InvalidConfig: it is not a mapping, or has another key.
        """
        if not isinstance(value, dict):
            raise self.fault(path, f"must be a mapping, not {kind_of(value)}")
        for key in value:
            if known is not None and key not in known:
                raise self.fault((*path, key), f"unknown key; allowed here: {', '.join(sorted(known))}")
        return value


def read_document(text: str, file: str) -> Document:
    """Parse the text of a file.

    Raises:
        InvalidConfig: it is not YAML, or uses what is not allowed here.
    """
    import yaml

    loader_class = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_events(yaml.parse(text, Loader=loader_class), file)
        node = yaml.compose(text, Loader=loader_class)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise InvalidConfig(f"is not valid YAML: {error.problem or error.context}", file=file, line=line) from error
    except yaml.YAMLError as error:
        raise InvalidConfig(f"is not valid YAML: {clean_text(str(error), max_chars=200)}", file=file) from error
    builder = _Builder(file)
    root = None if node is None else builder.build((), node)
    return Document(file, root, builder.lines, builder.typed_texts)


def _check_events(events: "Iterable[yaml.Event]", file: str) -> None:
    """Refuse aliases and deep nesting before anything is built: a small file must not make a huge value."""
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise _at(event, file, f"the alias *{event.anchor} is not allowed here")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _at(event, file, f"is nested more than {MAX_DEPTH} deep")


def _at(item: Any, file: str, reason: str) -> InvalidConfig:
    return InvalidConfig(reason, file=file, line=item.start_mark.line + 1)


def _printed(value: object) -> str:
    """Return a null, boolean or number as JSON has it."""
    try:
        return json.dumps(value)
    except ValueError:  # an integer of thousands of digits
        return kind_of(value)


class _Builder:
    """Builder of plain values from YAML nodes; it notes the line of each."""

    def __init__(self, file: str) -> None:
        from yaml.constructor import SafeConstructor

        self._file = file
        self._scalars = SafeConstructor()
        self.lines: dict[_Path, int] = {}
        self.typed_texts: dict[_Path, str] = {}
        """What YAML made of plain texts that are printed in another way, by the place of the value."""

    def build(self, path: _Path, node: Any) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        match node.id, node.tag.removeprefix("tag:yaml.org,2002:"):
            case "mapping", "map":
                return self._mapping(path, node)
            case "sequence", "seq":
                return [self.build((*path, str(index)), item) for index, item in enumerate(node.value)]
            case "scalar", "null" | "bool" | "int" | "float":
                return self._scalar(path, node)
            case "scalar", "str" | "timestamp" | "value":
                return node.value  # a date is text here, as in JSON
        raise self._fault(path, node, f"the tag {node.tag} is not allowed here")

    def _mapping(self, path: _Path, node: Any) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = getattr(key_node, "value", None)
            if not isinstance(key, str):
                raise self._fault(path, key_node, "a key must be text")
            place = (*path, key)
            if key in built:
                raise self._fault(place, key_node, f"duplicate key (first on line {self.lines[place]})")
            self.lines[place] = key_node.start_mark.line + 1
            built[key] = self.build(place, value_node)
        return built

    def _scalar(self, path: _Path, node: Any) -> Any:
        try:
            value = self._scalars.construct_object(node)
            if not node.style and node.value and (printed := _printed(value)) != node.value:
                self.typed_texts[path] = f"YAML reads {node.value} as {printed}"
            return value
        except (ArithmeticError, LookupError, ValueError) as error:
            raise self._fault(path, node, "cannot be read as a value") from error

    def _fault(self, path: _Path, node: Any, reason: str) -> InvalidConfig:
        key = clean_text(".".join(path)) or None
        return InvalidConfig(reason, file=self._file, line=node.start_mark.line + 1, key=key)
