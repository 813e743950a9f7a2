"""Values: plain classes with slots at run time, and nothing in loopkit changes one."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from loopkit.core.run import Stage
from loopkit.core.values import replacer, value

ROOT = Path(__file__).parent.parent.parent


@value(kw_only=True)
class Point:
    """A value of two fields."""

    x: int
    y: int = 0


def test_values_are_equal_and_hashed_by_their_fields() -> None:
    """They can be members of sets, and a changed copy is another value."""
    assert Point(x=1) == Point(x=1, y=0)
    assert len({Point(x=1), Point(x=1), Point(x=2)}) == 2
    assert attrs.evolve(Point(x=1), y=2) == Point(x=1, y=2)


def test_a_value_has_slots_and_no_other_attributes() -> None:
    """A misspelt name is an error at run time as well."""
    with pytest.raises(AttributeError):
        Point(x=1).z = 2  # type: ignore[attr-defined]


def test_a_replacer_changes_only_what_it_names() -> None:
    """It returns a copy as ``attrs.evolve`` does, and takes no name that is no field."""
    point = Point(x=1, y=2)
    assert replacer(Point, "y")(point, 3) == Point(x=1, y=3)
    assert replacer(Point, "y", "x")(point, 3, 4) == Point(x=4, y=3)
    assert point == Point(x=1, y=2)
    with pytest.raises(AssertionError, match="z"):
        replacer(Point, "z")


def in_frozen_values(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process in which every value is made by ``attrs.frozen``."""
    switched = "import attrs\nfrom loopkit.core import values\nvalues.value = attrs.frozen\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", switched + code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)


@pytest.mark.parametrize("store", ["sqlite", "memory"])
def test_simulated_schedules_change_no_value(store: str) -> None:
    """Runners, stores and the machine work with values that refuse every assignment."""
    code = f"from tests.simulation.__main__ import main\nraise SystemExit(main({store!r}, 0, 12))"
    lived = in_frozen_values(code)
    assert lived.returncode == 0, lived.stdout + lived.stderr


def test_a_changed_value_would_be_found() -> None:
    """In such a process an assignment to a field of a run is an error."""
    code = "from loopkit.core.run import NewRun\nNewRun(agent_name='a', inputs={}).agent_name = 'b'"
    assert "FrozenInstanceError" in in_frozen_values(code).stderr


def test_a_text_enum_is_like_any_other() -> None:
    """Its members are texts, have their texts as values, and are found by them."""
    assert [stage.value for stage in Stage] == ["producing", "evaluating", "revising"]
    assert type(Stage.PRODUCING.value) is str
    assert Stage("producing") is Stage.PRODUCING
    assert pickle.loads(pickle.dumps(Stage.PRODUCING)) is Stage.PRODUCING
    with pytest.raises(AttributeError):
        Stage.PRODUCING.value = "x"  # type: ignore[misc]
