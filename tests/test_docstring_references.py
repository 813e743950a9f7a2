"""Names in docstrings: every reference in the roles of Sphinx leads somewhere, and lists of modules are complete."""

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.test_style import MODULES, TREES

REFERENCE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`([^`]+)`")


def imported_name(path: str) -> str:
    return path.split("/src/")[1].removesuffix(".py").removesuffix("/__init__").replace("/", ".")


IMPORTED = {imported_name(path): path for path in MODULES}


def has(owner: object, names: list[str]) -> bool:
    """Whether the names lead from an object to another one; attributes of instances are known by their annotation."""
    for at, name in enumerate(names):
        if not hasattr(owner, name):
            return at == len(names) - 1 and name in getattr(owner, "__annotations__", {})
        owner = getattr(owner, name)
    return True


def leads_somewhere(module: ModuleType, reference: str) -> bool:
    names = reference.lstrip("~.").split(".")
    if reference.startswith((".", "~.")):  # in any module, which may be named
        modules = map(importlib.import_module, IMPORTED)
        return any(
            has(each, names) or (each.__name__.endswith(f".{names[0]}") and has(each, names[1:])) for each in modules
        )
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    if any(has(owner, names) for owner in (module, *classes)):
        return True
    for end in range(len(names), 0, -1):
        try:
            return has(importlib.import_module(".".join(names[:end])), names[end:])
        except ImportError:
            continue
    return False


def test_every_reference_leads_somewhere() -> None:
    lost = [
        f"{path}: {reference}"
        for name, path in IMPORTED.items()
        for reference in REFERENCE.findall(MODULES[path].read_text(encoding="utf-8"))
        if not leads_somewhere(importlib.import_module(name), reference)
    ]
    assert not lost, "\n".join(lost)


@pytest.mark.parametrize("path", [path for path in MODULES if path.endswith("__init__.py")])
def test_the_docstring_of_a_package_names_all_its_modules_or_few(path: str) -> None:
    """A list of modules that leaves some out misleads; a package with one module per subject needs none."""
    folder = MODULES[path].parent
    modules = {entry.stem for entry in folder.iterdir() if is_module(entry)}
    named = set(re.findall(r"``(\w+)``", ast.get_docstring(TREES[path]) or ""))
    assert len(modules & named) < 3 or modules <= named, sorted(modules - named)


def is_module(entry: Path) -> bool:
    return (entry.suffix == ".py" and entry.stem != "__init__") or (entry / "__init__.py").exists()
