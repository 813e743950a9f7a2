"""Imports point one way, and ``import loopkit`` stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.python_reference import MODULES

ROOT = Path(__file__).parent.parent
SOURCES = {
    "loopkit": ROOT / "packages/loopkit/src/loopkit",
    "loopkit_web": ROOT / "packages/loopkit-web/src/loopkit_web",
    "loopkit_cli": ROOT / "packages/loopkit-cli/src/loopkit_cli",
}

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "clock", "system_ids", "url_display", "version"}),
    frozenset({"core"}),
    frozenset({"eventloop", "wire"}),
    frozenset({"storage", "agents"}),
    frozenset({"stores", "runner"}),
    frozenset({"api", "fleet", "journal_reader", "thread_loops"}),  # run, submit, wait, follow
    frozenset({"sync"}),  # the same for code that is not async, and run_sync
    frozenset({"testing"}),
)
"""Modules and folders in ``loopkit``, lowest first. A part may import what is below it and nothing beside it."""

PACKAGES_SEEN_BY = {
    "loopkit": {"loopkit"},
    "loopkit_web": {"loopkit", "loopkit_web"},
    "loopkit_cli": {"loopkit", "loopkit_web", "loopkit_cli"},
}

NOT_IN_CORE = {
    *("aiosqlite", "anyio", "asyncio", "concurrent", "io", "logging", "multiprocessing", "os", "pathlib", "psycopg"),
    *("queue", "random", "sched", "secrets", "selectors", "shutil", "signal", "socket", "sqlalchemy", "sqlite3"),
    *("subprocess", "tempfile", "threading", "time", "trio", "uuid", "uuid_utils", "warnings"),
}
"""The core has no clock, randomness, input or output, logging or concurrency: it takes and returns values."""

HEAVY = {"jinja2", "jsonschema", "psycopg", "pydantic_ai", "sqlalchemy", "turso_serverless", "yaml"}


def modules(package: str) -> list[Path]:
    return sorted(SOURCES[package].rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a file imports, wherever in it; of ``from a import b`` both ``a`` and ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path: Path) -> str:
    """The part of ``loopkit`` that a file belongs to."""
    return path.relative_to(SOURCES["loopkit"]).with_suffix("").parts[0]


def layer_of(part: str) -> int:
    for number, parts in enumerate(LAYERS):
        if part in parts:
            return number
    raise AssertionError(f"loopkit.{part} has no place in LAYERS (tests/test_layers.py): give it one")


def inner_modules() -> list[Path]:
    """Every file of ``loopkit`` but its ``__init__``, which only hands on names and may see all."""
    return [path for path in modules("loopkit") if path != SOURCES["loopkit"] / "__init__.py"]


@pytest.mark.parametrize("path", inner_modules(), ids=lambda path: str(path.relative_to(SOURCES["loopkit"])))
def test_a_module_imports_only_what_is_below_it(path: Path) -> None:
    """A part of ``loopkit`` imports parts of lower layers and itself, and never the package's front."""
    part = part_of(path)
    parts = {name for names in LAYERS for name in names}
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package != "loopkit":
            continue
        other = rest.partition(".")[0]
        if not other:
            continue  # `from loopkit import x`: x itself comes next
        assert other in parts, f"{path} imports {name} from the front of the package or from a part without a layer"
        assert other == part or layer_of(other) < layer_of(part), f"{path}: {part} may not import {other}"


WEB_LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"http", "mount"}),
    frozenset({"actions", "fleet", "row_parts", "token_access"}),
    frozenset({"api", "dashboard"}),
    frozenset({"app"}),
)
"""Modules and folders directly in ``loopkit_web``, lowest first, under the same rule as ``LAYERS``."""


def test_the_parts_of_the_web_import_only_what_is_below_them() -> None:
    """The HTTP layer knows none of its users, and neither of the API and the dashboard imports the other."""
    floors = {part: number for number, parts in enumerate(WEB_LAYERS) for part in parts}
    for path in modules("loopkit_web"):
        part = path.relative_to(SOURCES["loopkit_web"]).with_suffix("").parts[0]
        if part == "__init__":
            continue  # the front of the package, which may import every part
        for name in imports(path):
            package, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if package == "loopkit_web" and other and other != part:
                assert floors[other] < floors[part], f"{path}: {part} may not import {other}"


def test_the_http_layer_calls_no_method_of_a_store() -> None:
    """``http`` knows stores by type and closes those it opened; what is read or changed is decided above it."""
    protocols = ast.parse((SOURCES["loopkit"] / "storage" / "protocols.py").read_text(encoding="utf-8"))
    methods = {node.name for node in ast.walk(protocols) if isinstance(node, ast.AsyncFunctionDef)} - {"aclose"}
    for path in (SOURCES["loopkit_web"] / "http").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Attribute) and node.attr in methods), f"{path} uses {node.attr}"


SQL_LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"databases"}),
    frozenset({"schema", "wakeups"}),
    frozenset({"statements", "operations"}),
    frozenset({"writes"}),
    frozenset({"executors"}),
    frozenset({"store"}),
    frozenset({"opener"}),
    frozenset({"move"}),
)
"""Modules and folders directly in ``loopkit.stores.sql``, lowest first, under the same rule as ``LAYERS``."""


def test_the_parts_of_the_sql_store_import_only_what_is_below_them() -> None:
    """The rooms of the SQL store are floors: a database knows no table, and no statement knows who runs it."""
    sql = SOURCES["loopkit"] / "stores/sql"
    floors = {part: number for number, parts in enumerate(SQL_LAYERS) for part in parts}
    for path in sorted(sql.rglob("*.py")):
        part = path.relative_to(sql).with_suffix("").parts[0]
        for name in imports(path):
            _, is_sql, rest = name.partition("loopkit.stores.sql.")
            other = rest.partition(".")[0]
            if is_sql and other != part:
                assert floors[other] < floors[part], f"{path}: {part} may not import {other}"


@pytest.mark.parametrize("package", sorted(SOURCES))
def test_packages_import_one_way(package: str) -> None:
    """``loopkit`` knows neither of the others, and the web not the command line."""
    for path in modules(package):
        for name in imports(path):
            top = name.partition(".")[0]
            assert top not in SOURCES or top in PACKAGES_SEEN_BY[package], f"{path} imports {name}"


PINNED = {
    "loopkit.agents",
    "loopkit.agents.stages.lifespan",
    "loopkit.agents.stage_call",
    "loopkit.api",
    "loopkit.core",
    "loopkit.core.cut_json",
    "loopkit.core.ids",
    "loopkit.core.inputs",
    "loopkit.core.strict_json",
    "loopkit.eventloop",
    "loopkit.fleet",
    "loopkit.runner.openmetrics",
    "loopkit.stores.cursors",
    "loopkit.stores.sql.move",
    "loopkit.stores.sql.opener",
    "loopkit.stores.sql.store",
    "loopkit.stores.text_cuts",
    "loopkit.url_display",
}
"""Private modules of ``loopkit`` that the other packages use: they require exactly the version released with them."""


def test_the_other_packages_use_public_modules() -> None:
    """``loopkit_web`` and ``loopkit_cli`` import only public modules of ``loopkit``, and the private ones in PINNED."""
    names = {".".join(path.relative_to(SOURCES["loopkit"].parent).with_suffix("").parts) for path in modules("loopkit")}
    private = {name.removesuffix(".__init__") for name in names} - MODULES.keys()
    used = {name for package in ("loopkit_web", "loopkit_cli") for path in modules(package) for name in imports(path)}
    assert used & private == PINNED


def test_the_core_is_pure() -> None:
    """Nothing in ``core`` can read a clock, draw a number, write anything or wait."""
    for path in (SOURCES["loopkit"] / "core").rglob("*.py"):
        for name in imports(path):
            assert name.partition(".")[0] not in NOT_IN_CORE, f"{path} imports {name}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"now", "utcnow", "today"} or not _is_called_on_a_type(node), path
            assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), f"{path} is asynchronous"


def _is_called_on_a_type(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in {"datetime", "date"}


@pytest.mark.parametrize("statement", ["import loopkit", "import loopkit_cli.main"])
def test_import_is_light(statement: str) -> None:
    """No database, schema library or YAML is loaded before the call that needs it; ``--help`` needs none."""
    assert loaded_by(statement).isdisjoint(HEAVY)


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after a statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}
