"""The names of ``import loopkit``: the same at run time as for type checkers, and no others."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import loopkit

ROOT = Path(__file__).parent.parent


def names_for_type_checkers() -> dict[str, str]:
    """Return the module of each name that ``loopkit/__init__.py`` imports for type checkers."""
    tree = ast.parse(Path(loopkit.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_each_name_is_the_one_that_type_checkers_see() -> None:
    """``__all__`` has what is imported for type checkers, and each name is that of its module."""
    modules = names_for_type_checkers()
    assert sorted(modules) == sorted(loopkit.__all__)
    for name, module in modules.items():
        assert getattr(loopkit, name) is getattr(importlib.import_module(module), name), name


@pytest.mark.parametrize(
    "name",
    [
        *("loopkit.agents.StageContext", "loopkit.agents.prompt._JUDGING", "loopkit.agents.template.Template"),
        *("loopkit.core.lease.Claimant", "loopkit.core.machine.advance", "loopkit.core.outcome.Produced"),
        *("loopkit.core.run.Stage", "loopkit.errors.StageFailed", "loopkit.storage.RunQuery"),
        "loopkit_cli.options.without_password",
    ],
)
def test_names_that_programs_of_others_import_stay(name: str) -> None:
    """They are no part of ``import loopkit``; programs that show faults need them."""
    module, _, attribute = name.rpartition(".")
    assert getattr(importlib.import_module(module), attribute)


def test_a_misspelt_name_is_an_error_at_run_time() -> None:
    """The message names the module and the attribute, as that of any module does."""
    with pytest.raises(AttributeError, match="module 'loopkit' has no attribute 'Agnet'"):
        _ = loopkit.Agnet  # type: ignore[attr-defined]
    assert not hasattr(loopkit, "import_everything")


@pytest.mark.slow
def test_a_misspelt_name_is_an_error_of_the_type_checker(tmp_path: Path) -> None:
    """mypy accepts every public name and refuses any other."""
    program = tmp_path / "program.py"
    names = [*loopkit.__all__, "__version__"]
    program.write_text("\n".join(["import loopkit", *(f"loopkit.{name}" for name in names), "loopkit.Agnet", ""]))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    # What mypy remembers of a program that is the same in another folder has that folder.
    assert [line.rpartition("/")[2] for line in done.stdout.splitlines()] == [
        f'program.py:{len(names) + 2}: error: Module has no attribute "Agnet"; maybe "Agent"?  [attr-defined]',
        "Found 1 error in 1 file (checked 1 source file)",
    ]
