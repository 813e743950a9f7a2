"""The rules of CONTRIBUTING.md that a program can check: names of modules, sizes, and the first words of docstrings."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "loopkit": ROOT / "packages/loopkit/src/loopkit",
    "loopkit_web": ROOT / "packages/loopkit-web/src/loopkit_web",
    "loopkit_cli": ROOT / "packages/loopkit-cli/src/loopkit_cli",
}
MODULES = {str(path.relative_to(ROOT)): path for folder in PACKAGES.values() for path in sorted(folder.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}

MOST_LINES = 500
MOST_LINES_OF_A_FUNCTION = 60
MOST_METHODS = 25
MOST_FILES = 12
"""Of a folder, ``__init__.py`` not counted."""

MORE_FILES = {
    "packages/loopkit-cli/src/loopkit_cli/commands": 20,  # one file per command
    "packages/loopkit-cli/src/loopkit_cli": 20,
    "packages/loopkit-web/src/loopkit_web/dashboard/views": 15,  # one file per part of a page
    "packages/loopkit-web/src/loopkit_web/http": 16,
    "packages/loopkit/src/loopkit/agents": 16,  # what all kinds of stages share: values, calls, results, templates
    "packages/loopkit/src/loopkit/core": 16,  # one file per kind of value, and the functions over it
    "packages/loopkit/src/loopkit/runner": 15,
}
"""Folders that may hold more files, and how many."""

DELEGATING_CLASSES = frozenset({"SqlStore", "MemoryStore"})
"""Classes in which a method that only calls a part is not counted: the protocols of a store ask for all these verbs."""

GERUNDS = frozenset({"testing"})
"""Names of modules that may end in -ing: ``testing`` is the usual name of a public module for tests."""

VERBS = frozenset(
    """
    Accept Add Advance Allow Answer Append Apply Ask Await Begin Book Build Call Cancel Check Claim Clear Close
    Collect Compare Compile Compress Compute Connect Convert Copy Count Create Cut Decide Decode Decompress
    Delete Describe Determine Do Drain Draw Drop Encode End Escape Evaluate Execute Explain Export Fail Fetch
    Find Finish Flush Format Forward Group Handle Ignore Import Insert Interrupt Invoke Join Keep Limit List
    Load Lock Log Make Map Mark Match Measure Merge Migrate Move Name Normalize Note Notify Number Open Parse
    Pass Perform Play Poll Prepare Prevent Print Produce Prune Put Queue Raise Read Record Redirect Refuse
    Register Reject Release Remember Remove Render Renew Replace Report Request Reserve Reset Restore Resume
    Retry Return Revise Roll Run Save Schedule Score Search Select Send Serve Set Show Skip Sleep Sort Split
    Start Stop Store Stream Submit Subscribe Suggest Take Trim Try Undo Update Use Validate Verify Wait Wake
    Warn Watch Work Wrap Write Yield
    """.split()  # noqa: SIM905 - a list of literals would be four times as long
)
"""First words of docstrings of functions. A new one is welcome when a library's reader expects it."""

NOT_NOUNS = frozenset({"What", "Whatever", "Who", "Whoever", "Whom", "Whose", "Where", "How", "However", "Whether"})
"""First words that begin a clause in place of a noun."""


@attrs.frozen
class Described:
    """A docstring, or a string below a field."""

    place: str
    kind: str
    """``function``, or ``thing`` for modules, classes and fields."""
    text: str

    @property
    def first_word(self) -> str:
        return self.text.split()[0].rstrip(",;:.")


def is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Properties, hybrid or cached, are described as fields are: by a noun."""
    names = [ast.unparse(decorator).rpartition(".")[2] for decorator in function.decorator_list]
    return any(name.endswith("property") or name == "setter" for name in names)


def docstrings(module: str) -> Iterator[Described]:
    """Yield what describes the public functions of a module, and its classes and fields."""
    tree = TREES[module]
    if text := ast.get_docstring(tree):
        yield Described(f"{module}:1", "thing", text)
    yield from _docstrings(module, tree, is_public=True)


def _docstrings(module: str, parent: ast.Module | ast.ClassDef, *, is_public: bool) -> Iterator[Described]:
    for node, following in zip(parent.body, [*parent.body[1:], None], strict=True):
        place = f"{module}:{node.lineno}"
        match node, following:
            case ast.ClassDef(), _:
                if text := ast.get_docstring(node):
                    yield Described(place, "thing", text)
                yield from _docstrings(module, node, is_public=is_public and not node.name.startswith("_"))
            case ((ast.FunctionDef() | ast.AsyncFunctionDef()), _):
                text = ast.get_docstring(node)
                if text and is_public and not node.name.startswith(("_", "test_")):
                    yield Described(place, "thing" if is_property(node) else "function", text)
            case ((ast.AnnAssign() | ast.Assign()), ast.Expr(value=ast.Constant(value=str(text)))):
                yield Described(place, "thing", text)


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_a_function_is_described_by_a_verb() -> None:
    """The docstring of a public function begins with a verb of the list, or with the endpoint that it is."""
    wrong = [
        f"{described.place}: {described.text.splitlines()[0]}"
        for module in MODULES
        for described in docstrings(module)
        if described.kind == "function" and described.first_word not in VERBS | {"``GET", "``POST", "``PATCH"}
    ]
    assert not wrong, "\n".join(wrong)


def test_a_thing_is_described_by_a_noun() -> None:
    """The docstring of a module, a class, a property or a field begins with no clause such as ``What waits``."""
    wrong = [
        f"{described.place}: {described.text.splitlines()[0]}"
        for module in MODULES
        for described in docstrings(module)
        if described.kind == "thing" and described.first_word in NOT_NOUNS
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_is_named_by_a_gerund() -> None:
    """A name such as ``driving`` says what happens and not what is there. Names of several words are free."""
    names = {path.stem for path in MODULES.values()} | {path.parent.name for path in MODULES.values()}
    assert {name for name in names if name.endswith("ing") and "_" not in name} <= GERUNDS


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_has_the_name_of_another(package: str) -> None:
    """A name that is read in a traceback, or in an import, belongs to one file of its package."""
    folders = {path for path in PACKAGES[package].rglob("*") if (path / "__init__.py").exists()}
    modules = [path.stem for path in PACKAGES[package].rglob("*.py") if path.stem not in ("__init__", "__main__")]
    repeated = {name: n for name, n in Counter([*modules, *(folder.name for folder in folders)]).items() if n > 1}
    assert not repeated


def test_folders_are_small() -> None:
    """A folder holds what belongs together, some twelve files at most."""
    files = Counter(str(path.parent.relative_to(ROOT)) for path in MODULES.values() if path.name != "__init__.py")
    assert {folder: n for folder, n in files.items() if n > MORE_FILES.get(folder, MOST_FILES)} == {}
    needless = [folder for folder in MORE_FILES if files[folder] <= MOST_FILES]
    assert needless == [], "these need no exception any more"


def test_files_and_functions_are_short() -> None:
    """Of files all lines count, of functions the lines below their docstring as well as those of their head."""
    files = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: lines for module, lines in files.items() if lines > MOST_LINES} == {}
    lengths = {
        f"{module}:{function.lineno} {function.name}": (function.end_lineno or 0) - function.lineno + 1
        for module in MODULES
        for function in functions(module)
    }
    assert {place: lines for place, lines in lengths.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}


def test_classes_have_few_methods() -> None:
    """A class with more methods has more than one duty. Cases of a suite are not counted."""
    counts = {}
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                methods = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
                counted = [method for method in methods if not method.name.startswith("test_")]
                if node.name in DELEGATING_CLASSES:
                    counted = [method for method in counted if not is_delegation(method)]
                if len(counted) > MOST_METHODS:
                    counts[f"{module}:{node.lineno} {node.name}"] = len(counted)
    assert counts == {}


def is_delegation(method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a method is one statement that calls something, below its docstring."""
    body = method.body[1:] if ast.get_docstring(method) is not None else method.body
    match body:
        case [ast.Return(value=ast.Call() | ast.Await(value=ast.Call())) | ast.Expr(value=ast.Call() | ast.Await())]:
            return True
    return False
