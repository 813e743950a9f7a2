"""Templates of prompts: Jinja2, sandboxed, filled with the values that a stage gets.

``{{ x }}`` is text as it is, None as nothing, everything else as JSON; parts of None are None. An input that the schema
declares and the run lacks is None too; any other unknown name is an error. There is no ``include``, ``import`` or
``extends``, and what is filled in is never read as a template.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import BuiltinMethodType
from typing import Any, Final

import attrs

from loopkit.agents.context import HistoryEntry, StageContext
from loopkit.agents.error_text import clean_text
from loopkit.core import strict_json
from loopkit.errors import StageFailed

__all__ = ["MAX_TEMPLATE_BYTES", "Template", "closed_inputs", "declared_inputs", "read_template"]

MAX_TEMPLATE_BYTES: Final = 1 << 20
MAX_SECONDS: Final = 1.0
MISSING_JINJA: Final = "templates need the package Jinja2: install loopkit with the extra llm"

_STAGE_NAMES: Final = (
    *("run_id", "agent_name", "cycle_id", "inputs", "stage", "attempt", "output", "evaluation", "idempotency_key"),
    *("history", "best", "base_attempt", "budget"),
)
_NAMES: Final = tuple(field.name for field in attrs.fields(StageContext) if field.name in _STAGE_NAMES)
_FORBIDDEN: Final = {"Include": "include", "Import": "import", "FromImport": "from ... import", "Extends": "extends"}
_FILE: Final = "<template>"


class Template:
    """A text that is filled with the values of a stage's context.

    Args:
        text: the template.
        source: name of its file, for errors.
        allowed: names that it may have; those of a stage.

    Raises:
        StageFailed: it is no template, has a tag that is not allowed, or names what is not allowed.
    """

    def __init__(self, text: str, *, source: str | None = None, allowed: Sequence[str] = _NAMES) -> None:
        self.text = text
        self._allowed = allowed
        self._name = "the template" if source is None else f"the template {source}"
        if len(text.encode()) > MAX_TEMPLATE_BYTES:
            raise self._failure(f"is larger than {MAX_TEMPLATE_BYTES} bytes")
        self.names: frozenset[str] = frozenset()
        """Values of the stage that the template names."""
        self.input_names: frozenset[str] = frozenset()
        """Inputs that the template names."""
        self._compiled = self._compile()

    def _compile(self) -> Any:
        try:
            from jinja2 import TemplateSyntaxError, meta

            from loopkit.agents.template_sandbox import guard
        except ImportError as error:
            raise StageFailed(MISSING_JINJA, is_final=True) from error
        sandbox = _sandbox()
        try:
            tree = sandbox.parse(self.text)
            self._check_tags(tree)
            named = meta.find_undeclared_variables(tree)
            self.names = frozenset(named & {*_NAMES})
            unknown = named - {*self._allowed, *sandbox.globals}
            if unknown:
                names = ", ".join(sorted(unknown))
                raise self._failure(f"names {names}; it may name: {', '.join(self._allowed)}, and their parts")
            self.input_names = frozenset(_input_names(tree))
            code = sandbox.compile(guard(tree), filename=_FILE)
            return sandbox.template_class.from_code(sandbox, code, sandbox.make_globals(None))
        except TemplateSyntaxError as error:
            raise self._failure(
                clean_text(f"cannot be read: line {error.lineno}: {error.message}", max_chars=500)
            ) from None
        except (RecursionError, MemoryError, SyntaxError, OverflowError, ValueError) as error:
            raise self._failure(f"cannot be read: it is nested too deep ({type(error).__name__})") from None

    def _check_tags(self, tree: Any) -> None:
        from jinja2 import nodes

        for node in tree.find_all(tuple(getattr(nodes, name) for name in _FORBIDDEN)):
            raise self._failure(f"line {node.lineno}: `{_FORBIDDEN[type(node).__name__]}` is not allowed here")

    def problem(self, declared: frozenset[str] | None) -> str | None:
        """Return which inputs are named that the schema does not declare, or None."""
        unknown = sorted(self.input_names - declared) if declared is not None else []
        if not unknown:
            return None
        names, known = ", ".join(f"inputs.{name}" for name in unknown), ", ".join(sorted(declared or ())) or "none"
        return f"{self._name} names {names}, which the inputs' schema does not have; it has: {known}"

    def fill(
        self,
        context: StageContext,
        *,
        declared: frozenset[str] = frozenset(),
        fence: Callable[[str], str] | None = None,
    ) -> str:
        """Return the text with its values.

        Args:
            context: values of the stage.
            declared: inputs that the schema declares; one that the run lacks is None.
            fence: puts the judged output between marks; None: it stands as it is.

        Raises:
            StageFailed: the template names a part that does not exist, or takes too much time or space.
        """
        from jinja2 import UndefinedError

        from loopkit.agents.template_sandbox import LIMITS, Limits

        values = _values(context, declared)
        limit = MAX_TEMPLATE_BYTES + len(strict_json.dumps([values[name] for name in self.names]))
        limits = Limits(deadline=time.monotonic() + MAX_SECONDS, chars_left=4 * limit, fence=fence)
        token = LIMITS.set(limits)
        try:
            parts, size = list[str](), 0
            for part in self._compiled.generate(values):
                parts.append(part)
                size += len(part)
                if size > limit:
                    limits.spend(limits.chars_left + 1)
            return "".join(parts)
        except StageFailed:
            raise
        except UndefinedError as error:
            raise self._failure(self._missing(values, error)) from None
        except Exception as error:  # noqa: BLE001  (operations of a template raise what Python does)
            reason = clean_text(f"{type(error).__name__}: {error}", max_chars=300)
            raise self._failure(f"cannot be filled: {_line(error)}{reason}") from None
        finally:
            LIMITS.reset(token)

    def _missing(self, values: Mapping[str, Any], error: Exception) -> str:
        """Return the predicate for a part that does not exist, with its whole path where it can be told."""
        from jinja2 import Undefined

        # A method that is not called, such as `title` of a text, is no part either.
        for kind in (Undefined, BuiltinMethodType):
            for path in _paths(_sandbox().parse(self.text)):
                if _leads_to(values, path, kind):
                    return f"names {'.'.join(path)}, which does not exist"
        return f"names what does not exist: {_line(error)}{clean_text(str(error), max_chars=300)}"

    def _failure(self, predicate: str) -> StageFailed:
        return StageFailed(f"{self._name} {predicate}", is_final=True)


def read_template(folder: Path, name: str) -> Template:
    """Read a template from its file.

    Raises:
        StageFailed: it cannot be read, or is no template.
    """
    return Template(read_text(folder, name), source=name)


def read_text(folder: Path, name: str) -> str:
    """Read the text of a template's file.

    Raises:
        StageFailed: it cannot be read, is too large or is not UTF-8.
    """
    try:
        with (folder / name).open("rb") as file:
            content = file.read(MAX_TEMPLATE_BYTES + 1)
    except OSError as error:
        raise StageFailed(f"cannot read the template {name}: {error.strerror}", is_final=True) from error
    if len(content) > MAX_TEMPLATE_BYTES:
        raise StageFailed(f"the template {name} is larger than {MAX_TEMPLATE_BYTES} bytes", is_final=True)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StageFailed(f"the template {name} is not UTF-8", is_final=True) from error


def declared_inputs(schema: Mapping[str, Any]) -> frozenset[str]:
    """Return the inputs that a JSON Schema declares, in any of its branches; a run may lack them, or have others."""
    names = set[str]()
    for part in _branches(schema):
        properties = part.get("properties")
        names |= set(properties) if isinstance(properties, Mapping) else set()
    return frozenset(names)


def closed_inputs(schema: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the inputs that a JSON Schema declares; None when it leaves open which others there are."""
    names = declared_inputs(schema)
    return frozenset(names) if names and not any(_leaves_open(part) for part in _branches(schema)) else None


def _leaves_open(part: Mapping[str, Any]) -> bool:
    more = part.get("additionalProperties", False), part.get("unevaluatedProperties", False)
    return any(value is not False for value in more) or "$ref" in part or "patternProperties" in part


def _branches(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a JSON Schema and those below it that are about the same object; its own ``$ref``s are followed."""
    waiting: list[Any] = [schema]
    followed = set[str]()
    while waiting:
        part = waiting.pop()
        if not isinstance(part, Mapping):
            continue
        yield part
        waiting += [part.get(key) for key in ("if", "then", "else")]
        waiting += [each for key in ("allOf", "anyOf", "oneOf") for each in part.get(key, ())]
        waiting += list(part.get("dependentSchemas", {}).values())
        reference = part.get("$ref")
        if isinstance(reference, str) and reference not in followed:
            followed.add(reference)
            waiting.append(_referenced(schema, reference))


def _referenced(schema: Mapping[str, Any], reference: str) -> object:
    """Return what a ``$ref`` such as ``#/$defs/topic`` points to; None where that is not in the schema."""
    found: Any = schema
    for name in reference.removeprefix("#/").split("/"):
        found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found


@cache
def _sandbox() -> Any:
    from loopkit.agents.template_sandbox import Sandbox

    return Sandbox()


def _values(context: StageContext, declared: frozenset[str]) -> dict[str, Any]:
    from loopkit.agents.template_sandbox import Inputs

    values = {name: _plain(getattr(context, name)) for name in _NAMES}
    inputs = Inputs(values["inputs"])
    inputs.declared = declared
    return {**values, "inputs": inputs, "stage": str(context.stage)}


def _plain(value: Any) -> Any:
    """Return a value of the context as plain JSON."""
    if attrs.has(type(value)) and not isinstance(value, Mapping):
        return _plain(attrs.asdict(value, recurse=False))
    if isinstance(value, list | tuple) and value and isinstance(value[0], HistoryEntry):
        return [_plain(part) for part in value]
    return strict_json.copy(value)


def _input_names(tree: Any) -> Iterator[str]:
    from jinja2 import nodes

    called = {id(call.node) for call in tree.find_all(nodes.Call)}
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        path = _path(node)
        if path is not None and len(path) == 2 and path[0] == "inputs" and id(node) not in called:
            yield path[1]


def _paths(tree: Any) -> list[list[str]]:
    from jinja2 import nodes

    found = (_path(node) for node in tree.find_all((nodes.Getattr, nodes.Getitem)))
    return sorted((path for path in found if path is not None), key=len)


def _path(node: Any) -> list[str] | None:
    """Return the names of ``a.b["c"]``, or None for anything else."""
    from jinja2 import nodes

    match node:
        case nodes.Name(ctx="load"):
            return [node.name]
        case nodes.Getattr():
            name = node.attr
        case nodes.Getitem(arg=nodes.Const(value=str() as name)):
            pass
        case _:
            return None
    path = _path(node.node)
    return None if path is None else [*path, name]


def _leads_to(values: Mapping[str, Any], path: list[str], kind: type) -> bool:
    if path[0] not in values:
        return False
    value: Any = values[path[0]]
    for name in path[1:]:
        value = _sandbox().getattr(value, name)
        if isinstance(value, kind):
            return True
    return False


def _line(error: BaseException) -> str:
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == _FILE]
    return f"line {lines[-1]}: " if lines else ""
