"""YAML as plain data whose places are known: every value's line, no key twice, no aliases, bounded depth."""

from collections.abc import Iterable, Set
from typing import TYPE_CHECKING, Any, Final

from loopkit.agents.wording import clean, kind_of
from loopkit.errors import InvalidConfig

if TYPE_CHECKING:
    import yaml

__all__ = ["Document", "read"]

MAX_DEPTH: Final = 64

_Path = tuple[str, ...]


class Document:
    """A file's data."""

    def __init__(self, file: str, root: object, lines: dict[_Path, int]) -> None:
        self.file = file
        self.root = root
        self._lines = lines

    def fault(self, path: Iterable[str], reason: str) -> InvalidConfig:
        """Give the error for the value at ``path``: its line, or that of the innermost mapping or list around it."""
        path = tuple(path)
        place = path
        while place not in self._lines and place:
            place = place[:-1]
        return InvalidConfig(reason, file=self.file, line=self._lines.get(place), key=clean(".".join(path)) or None)

    def mapping(self, path: _Path, value: object, *, known: Set[str] | None = None) -> dict[str, Any]:
        """Give ``value``, the value at ``path``, as a mapping; with ``known``: one without any other keys.

        Raises:
            InvalidConfig: it is none.
        """
        if not isinstance(value, dict):
            raise self.fault(path, f"must be a mapping, not {kind_of(value)}")
        for key in value:
            if known is not None and key not in known:
                raise self.fault((*path, key), f"unknown key; those that may stand here: {', '.join(sorted(known))}")
        return value


def read(text: str, file: str) -> Document:
    """Read a file's text.

    Raises:
        InvalidConfig: it is no YAML, or holds what is not allowed here.
    """
    import yaml

    loader_class = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_events(yaml.parse(text, Loader=loader_class), file)
        node = yaml.compose(text, Loader=loader_class)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise InvalidConfig(f"is no YAML: {error.problem or error.context}", file=file, line=line) from error
    except yaml.YAMLError as error:
        raise InvalidConfig(f"is no YAML: {clean(str(error), most=200)}", file=file) from error
    builder = _Builder(file)
    return Document(file, None if node is None else builder.build((), node), builder.lines)


def _check_events(events: "Iterable[yaml.Event]", file: str) -> None:
    """Refuse aliases and depth before anything is built, so that a small file can do no great harm."""
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


class _Builder:
    """Makes values of nodes and notes where each stands."""

    def __init__(self, file: str) -> None:
        from yaml.constructor import SafeConstructor

        self._file = file
        self._scalars = SafeConstructor()
        self.lines: dict[_Path, int] = {}

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
                raise self._fault(place, key_node, f"stands here a second time (first in line {self.lines[place]})")
            self.lines[place] = key_node.start_mark.line + 1
            built[key] = self.build(place, value_node)
        return built

    def _scalar(self, path: _Path, node: Any) -> Any:
        try:
            return self._scalars.construct_object(node)
        except (ArithmeticError, LookupError, ValueError) as error:
            raise self._fault(path, node, "is no value that can be read") from error

    def _fault(self, path: _Path, node: Any, reason: str) -> InvalidConfig:
        key = clean(".".join(path)) or None
        return InvalidConfig(reason, file=self._file, line=node.start_mark.line + 1, key=key)
