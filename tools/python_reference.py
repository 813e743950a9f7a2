"""Generator of docs/reference/python.md from the public docstrings: `python tools/python_reference.py`."""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
from starlette.types import ASGIApp

PAGE = Path(__file__).parent.parent / "docs/reference/python.md"
MODULES = {
    "loopkit": "programs that define agents, submit runs, work them and read their results",
    "loopkit.errors": "handling errors",
    "loopkit.runner": "workers of your own",
    "loopkit.journal_reader": "reading and following the journal of a run",
    "loopkit.stores": "opening the store of a database URL",
    "loopkit.sync": "code that is not async",
    "loopkit.wire": "the JSON form of runs, events and artifacts",
    "loopkit.core.run": "runs, as values",
    "loopkit.core.journal": "events, artifacts and changes, as values",
    "loopkit.core.labels.label_change": "titles and tags: changes of them, as values",
    "loopkit.core.labels.label_text": "titles and tags: the rules for them",
    "loopkit.core.lease": "claims and leases, as values",
    "loopkit.core.outcome": "outcomes of stages, as values",
    "loopkit.core.ledger.budget": "budgets of runs, as values",
    "loopkit.core.ledger.calls": "model calls, as values",
    "loopkit.core.ledger.sums": "sums over model calls, as values",
    "loopkit.core.policy": "policies of runs, as values",
    "loopkit.core.machine": "stores: the decisions that a store applies",
    "loopkit.core.run_actions": "stores: what cancel and retry do",
    "loopkit.storage": "stores: the protocols",
    "loopkit.testing": "tests of stores and agents",
    "loopkit_web": "serving the dashboard and the API",
}
"""The public modules, each with its purpose. The names in their ``__all__`` are public."""

ASGI_APP = inspect.formatannotation(ASGIApp)

INTRODUCTION = """\
# Python

The public modules and names, generated from the sources (`make docs`). Modules and names that are not on this page may
change or move in any release. Everything is typed; async functions work on asyncio and trio. `loopkit.__version__` is
the version of loopkit, and of `loopkit-web` and `loopkit-cli`, which are released together and require exactly that
version of `loopkit`.

In short:

```python
import anyio

import loopkit


def produce(ctx):
    return f"A name for {ctx.inputs['thing']}"


async def evaluate(ctx):
    return {"score": min(1.0, 0.4 * ctx.attempt), "feedback": "shorter"}


def revise(ctx):
    return ctx.output[:-3]


namer = loopkit.Agent(name="namer", produce=produce, evaluate=evaluate, revise=revise)


async def main():
    async with loopkit.open_store("sqlite:///loopkit.db") as store:
        result = await loopkit.run(namer, {"thing": "a cat"}, store=store)  # worked here, to its end
        print(result.status, result.output, result.run.final_score, result.run.id)
        queued = await loopkit.submit(store, namer, [{"thing": "a dog"}, {"thing": "an owl"}])
        await loopkit.Runner(store, [namer], concurrency=8).drain()  # .serve() works until it is cancelled
        print(await loopkit.wait(store, queued[0].id))


anyio.run(main)  # asyncio; backend="trio" works as well
result = loopkit.run_sync(namer, {"thing": "a cat"})  # from sync code; without a store the run lives in memory
```

"""


def page() -> str:
    """Return the whole page."""
    shown: dict[tuple[str, int], str] = {}
    modules = [section for module in MODULES for section in sections(importlib.import_module(module), shown)]
    return INTRODUCTION + "\n".join([*module_table(), *modules])


def module_table() -> Iterator[str]:
    """Return a table of the public modules."""
    yield "| module | for |\n|---|---|"
    yield from (f"| [`{name}`](#{anchor(name)}) | {purpose} |" for name, purpose in MODULES.items())
    yield ""


def anchor(heading: str) -> str:
    """Return the anchor that a heading gets in HTML."""
    return re.sub(r"[^\w-]", "", heading.lower())


def sections(module: ModuleType, shown: dict[tuple[str, int], str]) -> Iterator[str]:
    """Return the sections of a module: functions and classes one by one, errors and constants in tables.

    ``shown``: the names and identities of the values described so far, each with its module. They are not described
    again, only named.
    """
    named = {name: getattr(module, name) for name in module.__all__}
    yield f"## {module.__name__}\n"
    if module.__doc__ and module.__name__ != "loopkit":
        yield prose(inspect.cleandoc(module.__doc__)) + "\n"
    known = {name: shown[name, id(value)] for name, value in named.items() if (name, id(value)) in shown}
    for home in dict.fromkeys(known.values()):
        names = ", ".join(f"`{name}`" for name, place in known.items() if place == home)
        yield f"Described under [`{home}`](#{anchor(home)}): {names}.\n"
    named = {name: value for name, value in named.items() if name not in known}
    shown |= {(name, id(value)): module.__name__ for name, value in named.items()}
    constants = {name: value for name, value in named.items() if name.isupper()}
    yield from constant_table(module, constants)
    named = {name: value for name, value in named.items() if name not in constants}
    errors = {name: value for name, value in named.items() if is_error(value)}
    for name in sorted(named.keys() - errors.keys(), key=lambda name: (inspect.isroutine(named[name]), name.lower())):
        yield from thing(name, named[name])
    if errors:
        yield "### Errors\n\n| error | is a | when |\n|---|---|---|"
        yield from (f"| `{name}` | `{value.__base__.__name__}` | {first(value)} |" for name, value in errors.items())
        yield ""


def constant_table(module: ModuleType, constants: dict[str, Any]) -> Iterator[str]:
    """Return a table of constants; a table or set in one is described by its note alone."""
    if constants:
        notes = assignment_notes(ast.parse(inspect.getsource(module)).body)
        yield "| constant | value | what |\n|---|---|---|"
        for name, value in constants.items():
            text = default(value) if isinstance(value, int | str | timedelta) else ""
            yield f"| `{name}` | {f'`{text}`' if text else ''} | {prose(' '.join(notes.get(name, '').split()))} |"
        yield ""


def thing(name: str, value: Any) -> Iterator[str]:
    """Return the section of a class, a function or a type."""
    yield f"### {name}\n"
    if inspect.isclass(value) and issubclass(value, Enum):
        yield described(value) + "\n"
        yield ", ".join(f"`{member.value}`" for member in value) + ".\n"
    elif inspect.isclass(value):
        if value.__init__ is not object.__init__ and not is_protocol(value) and not told_by_attributes(value):
            yield f"```text\n{signature(name, value)}\n```\n"
        yield described(value) + "\n"
        yield from attributes(value)
        yield from methods(value)
    elif inspect.isroutine(value):
        yield f"```text\n{signature(name, value)}\n```\n"
        yield described(value) + "\n"
    elif inspect.ismodule(value):
        yield described(value) + "\n"
        for part in value.__all__:
            yield f"```text\n{signature(f'{name}.{part}', getattr(value, part))}\n```\n"
            yield described(getattr(value, part)) + "\n"
    else:
        yield f"`{plain_type(value)}`\n"


def attributes(cls: type) -> Iterator[str]:
    """Return a table of the fields and properties of a class, with the strings below them in its source."""
    notes = {name: note for base in reversed(cls.__mro__) for name, note in field_notes(base).items()}
    fields = {name: text for base in reversed(cls.__mro__) for name, text in annotations(base).items()}
    defaults = {field.name: default(field.default) for field in attrs.fields(cls)} if attrs.has(cls) else {}
    rows = [[f"`{name}`", f"`{text}`", defaults.get(name, ""), notes.get(name, "")] for name, text in fields.items()]
    for name, value in vars(cls).items():
        if isinstance(value, property) and not name.startswith("_"):
            rows.append([f"`{name}`", f"`{plain_type(value.fget.__annotations__.get('return'))}`", "", first(value)])
    if rows:
        cells = [" | ".join(prose(" ".join(cell.split())).replace("|", "\\|") for cell in row) for row in rows]
        body = "\n".join(f"| {row} |" for row in cells)
        yield f"| attribute | type | default | what |\n|---|---|---|---|\n{body}\n"


def methods(cls: type) -> Iterator[str]:
    """Return a list of the methods that have a docstring of their own."""
    told = []
    for name, value in vars(cls).items():
        function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        if inspect.isfunction(function) and not name.startswith(("_", "test_")) and function.__doc__:
            told.append(f"- `{signature(name, function, wrap=False)}`: {first(function)}\n")
    if told:
        yield "".join(told)


def is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


def is_protocol(cls: type) -> bool:
    return bool(getattr(cls, "_is_protocol", False))


def told_by_attributes(cls: type) -> bool:
    """Return whether every argument of a class is also an attribute, so that the table is enough."""
    return attrs.has(cls) and inspect.signature(cls).parameters.keys() <= annotations(cls).keys()


def signature(name: str, value: Any, *, wrap: bool = True) -> str:
    """Return the signature as one would call it, an argument a line when it is long."""
    source = inspect.signature(value.__init__ if inspect.isclass(value) else value)
    arguments = [argument(parameter) for parameter in source.parameters.values() if parameter.name != "self"]
    kinds = [parameter.kind for parameter in source.parameters.values() if parameter.name != "self"]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        arguments.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    prefix = "async " if inspect.iscoroutinefunction(value) else ""
    returns = "" if inspect.isclass(value) else f" -> {plain_type(source.return_annotation)}"
    line = f"{prefix}{name}({', '.join(arguments)}){returns}"
    if not wrap or len(line) <= 110:
        return line
    return f"{prefix}{name}(\n" + "".join(f"    {one},\n" for one in arguments) + f"){returns}"


STARS: dict[object, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def argument(parameter: inspect.Parameter) -> str:
    stars = STARS.get(parameter.kind, "")
    text = f"{stars}{parameter.name}: {plain_type(parameter.annotation)}"
    return text if parameter.default is parameter.empty else f"{text} = {default(parameter.default)}"


def default(value: Any) -> str:
    """Return a default as source text; a factory as dots."""
    if value is attrs.NOTHING:
        return ""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    return "..." if callable(value) or isinstance(value, attrs.Factory) else repr(value)  # type: ignore[arg-type]


def plain_type(annotation: Any) -> str:
    """Return a type as it is written in the sources, without modules and quotes."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"Optional\[(\w+)\]", r"\1 | None", text.replace(ASGI_APP, "ASGIApp"))
    return re.sub(r"~|\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text).replace('"', "").replace("'", "")


def annotations(cls: type) -> dict[str, str]:
    """Return the public fields that a class of loopkit declares."""
    if cls.__module__.split(".")[0] not in ("loopkit", "loopkit_web"):
        return {}
    declared = inspect.get_annotations(cls)
    return {name: plain_type(text) for name, text in declared.items() if not name.startswith("_")}


def field_notes(cls: type) -> dict[str, str]:
    """Return the strings below fields and assignments in a class's source."""
    if cls.__module__.split(".")[0] not in ("loopkit", "loopkit_web"):
        return {}
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    statements = [*body.body, *(s for f in body.body if isinstance(f, ast.FunctionDef) for s in f.body)]
    return {name.removeprefix("self."): note for name, note in assignment_notes(statements).items()}


def assignment_notes(statements: list[ast.stmt]) -> dict[str, str]:
    """Return the strings below annotated assignments, by name."""
    return {
        ast.unparse(before.target): inspect.cleandoc(str(after.value.value))
        for before, after in pairwise(statements)
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }


def described(value: Any) -> str:
    """Return a docstring as Markdown, its sections as lists."""
    text = inspect.cleandoc(value.__doc__ or "")
    assert text, f"{value} has no docstring"
    before, *parts = re.split(r"^(Args|Returns|Raises|Source|Yields):\n", text, flags=re.MULTILINE)
    result = prose(before.strip())
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        entries = re.split(r"\n(?=\S)", textwrap.dedent(body).strip())
        shown = "\n".join(f"- {entry(one)}" for one in entries)
        result += f"\n\n{title}:\n\n{shown}"
    return result


def entry(text: str) -> str:
    name, colon, rest = text.partition(": ")
    joined = " ".join(text.split())
    return f"`{name}`: {prose(' '.join(rest.split()))}" if colon and " " not in name else prose(joined)


def first(value: Any) -> str:
    """Return the first paragraph of a docstring as one line."""
    text = inspect.cleandoc(value.__doc__ or "").split("\n\n")[0]
    return prose(" ".join(text.split()))


def prose(text: str) -> str:
    """Return reStructuredText, as far as the docstrings use it, as Markdown."""
    text = re.sub(r":\w+:`~?([\w.]+)`", lambda found: f"`{found[1].rpartition('.')[2]}`", text)
    text = text.replace("``", "`")
    if "::\n" in text:
        before, _, code = text.partition("::\n\n")
        block = re.match(r"((?: {4}.*\n?|\n)+)", code)
        assert block is not None
        listing = textwrap.dedent(block[1]).strip()
        text = f"{before}:\n\n```text\n{listing}\n```\n\n{code[block.end() :].strip()}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
