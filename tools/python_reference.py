"""Writes docs/reference/python.md from the public names and their docstrings: `python tools/python_reference.py`."""

from __future__ import annotations

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
MODULES = ("loopkit", "loopkit.storage", "loopkit.testing", "loopkit_web")

ASGI_APP = inspect.formatannotation(ASGIApp)

INTRODUCTION = """\
# Python

The public names and what holds for them. This page is made from the sources (`make docs`). Other modules may move.
Everything is typed; async functions work on asyncio and trio.

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
        print(result.status, result.output, result.evaluation.score, result.run.id)
        queued = await loopkit.submit(store, namer, [{"thing": "a dog"}, {"thing": "an owl"}])
        await loopkit.Runner(store, [namer], concurrency=8).drain()  # .serve() works until it is cancelled
        print(await loopkit.wait(store, queued[0].id))


anyio.run(main)  # asyncio; backend="trio" works as well
result = loopkit.run_sync(namer, {"thing": "a cat"})  # from sync code; without a store the run lives in memory
```

"""


def page() -> str:
    """Give the whole page."""
    return INTRODUCTION + "\n".join(
        section for module in MODULES for section in sections(importlib.import_module(module))
    )


def sections(module: ModuleType) -> Iterator[str]:
    """Give the sections of a module: functions and classes one by one, errors and other values in tables."""
    named = {name: getattr(module, name) for name in module.__all__}
    yield f"## {module.__name__}\n"
    if module.__doc__ and module.__name__ != "loopkit":
        yield prose(inspect.cleandoc(module.__doc__)) + "\n"
    errors = {name: value for name, value in named.items() if is_error(value)}
    for name in sorted(named.keys() - errors.keys(), key=lambda name: (inspect.isfunction(named[name]), name.lower())):
        yield from thing(name, named[name])
    if errors:
        yield "### Errors\n\n| error | is a | when |\n|---|---|---|"
        yield from (f"| `{name}` | `{value.__base__.__name__}` | {first(value)} |" for name, value in errors.items())
        yield ""


def thing(name: str, value: Any) -> Iterator[str]:
    """Give the section of a class, a function or a type."""
    yield f"### {name}\n"
    if inspect.isclass(value) and issubclass(value, Enum):
        yield described(value) + "\n"
        yield ", ".join(f"`{member.value}`" for member in value) + ".\n"
    elif inspect.isclass(value):
        if "__init__" in vars(value) and not is_protocol(value) and not told_by_attributes(value):
            yield f"```text\n{signature(name, value)}\n```\n"
        yield described(value) + "\n"
        yield from attributes(value)
        yield from methods(value)
    elif inspect.isroutine(value):
        yield f"```text\n{signature(name, value)}\n```\n"
        yield described(value) + "\n"
    else:
        yield f"`{plain_type(value)}`\n"


def attributes(cls: type) -> Iterator[str]:
    """Give a table of the fields and properties of a class and what stands under them in its source."""
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
    """Give a list of the methods that say something of their own."""
    told = []
    for name, value in vars(cls).items():
        function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        if inspect.isfunction(function) and not name.startswith(("_", "test_")) and function.__doc__:
            told.append(f"- `{signature(name, function, wrap=False)}`: {first(function)}\n")
    if told:
        yield "".join(told)


# --- What the sources say ----------------------------------------------------------------------------------------


def is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


def is_protocol(cls: type) -> bool:
    return bool(getattr(cls, "_is_protocol", False))


def told_by_attributes(cls: type) -> bool:
    """True when every argument of a class is an attribute of it, so that the table says it all."""
    return attrs.has(cls) and inspect.signature(cls).parameters.keys() <= annotations(cls).keys()


def signature(name: str, value: Any, *, wrap: bool = True) -> str:
    """Give the signature as one would call it, an argument a line when it is long."""
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


def argument(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = f"{stars}{parameter.name}: {plain_type(parameter.annotation)}"
    return text if parameter.default is parameter.empty else f"{text} = {default(parameter.default)}"


def default(value: Any) -> str:
    """Give a default as one would write it; one that is made anew each time as dots."""
    if value is attrs.NOTHING:
        return ""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    return "..." if callable(value) or isinstance(value, attrs.Factory) else repr(value)  # type: ignore[arg-type]


def plain_type(annotation: Any) -> str:
    """Give a type as it is written in the sources, without modules and quotes."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"Optional\[(\w+)\]", r"\1 | None", text.replace(ASGI_APP, "ASGIApp"))
    return re.sub(r"~|\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text).replace('"', "").replace("'", "")


def annotations(cls: type) -> dict[str, str]:
    """Give the public fields that a class of ours declares."""
    if cls.__module__.split(".")[0] not in ("loopkit", "loopkit_web"):
        return {}
    declared = inspect.get_annotations(cls)
    return {name: plain_type(text) for name, text in declared.items() if not name.startswith("_")}


def field_notes(cls: type) -> dict[str, str]:
    """Give the strings that stand under fields and assignments in a class's source."""
    if cls.__module__.split(".")[0] not in ("loopkit", "loopkit_web"):
        return {}
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    statements = [*body.body, *(s for f in body.body if isinstance(f, ast.FunctionDef) for s in f.body)]
    notes = {}
    for before, after in pairwise(statements):
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            notes[ast.unparse(before.target).removeprefix("self.")] = inspect.cleandoc(str(after.value.value))
    return notes


def described(value: Any) -> str:
    """Give a docstring as Markdown, its sections as lists."""
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
    """Give the first paragraph of a docstring as one line."""
    text = inspect.cleandoc(value.__doc__ or "").split("\n\n")[0]
    return prose(" ".join(text.split()))


def prose(text: str) -> str:
    """Give reStructuredText, as far as the docstrings use it, as Markdown."""
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
