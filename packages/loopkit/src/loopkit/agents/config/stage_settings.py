"""Stages, checks and judges from their settings in agents.yaml."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from loopkit.agents.config.yaml_document import Document
from loopkit.agents.context import StageBody
from loopkit.agents.evaluators.criterion import Criterion
from loopkit.agents.evaluators.panel_spec import Check, Judge, Panel
from loopkit.agents.prompt.prompt_stage import PromptStage
from loopkit.agents.stage_spec import StageSpec
from loopkit.agents.stages.command import CommandStage
from loopkit.agents.stages.python import ImportedStage
from loopkit.errors import InvalidConfig

__all__ = ["build_evaluator", "build_stage", "locate_errors"]

_COMMON_KEYS: Final = frozenset({"timeout", "retries"})
_KIND_KEYS: Final[Mapping[str, Set[str]]] = {
    "python": frozenset({"python"}),
    "command": frozenset({"command", "env", "stdin", "stdout", "result", "workdir", "grace"}),
    "prompt": frozenset(
        {"prompt", "messages", "system", "output", "structured"}
        | {"model", "price", "base_url", "api_key_env", "temperature", "max_tokens", "seed", "extra_body"}
    ),
}

_KINDS: Final = {"python": "python", "command": "command", "prompt": "prompt", "messages": "prompt"}
"""Kind of a stage, by the key that says what it is."""

_BODIES: Final[Mapping[str, Callable[..., StageBody]]] = {
    "python": ImportedStage,
    "command": CommandStage,
    "prompt": PromptStage,
}

_PANEL_KEYS: Final = frozenset({"checks", "judges", "combine", "close", "quorum"})
_CRITERION_KEYS: Final = frozenset({"ask", "weight", "pass_mark", "answer"})

_Path = tuple[str, ...]


@attrs.frozen(kw_only=True)
class _Place:
    """Place of a stage in agents.yaml: the kinds and keys that it may have there."""

    kinds: Set[str] = frozenset(_BODIES)
    keys: Set[str] = frozenset()
    """Keys that belong to the place, not to the stage."""
    prompt_keys: Set[str] = frozenset()
    """Further keys of a prompt."""
    left_out: Set[str] = frozenset()
    """Keys that the stage may not have there."""
    panel_keys: Set[str] = frozenset()
    """Keys of a panel, where one may stand there in place of the stage."""

    @property
    def kind_keys(self) -> str:
        names = [f"`{key}`" for key, kind in _KINDS.items() if kind in self.kinds]
        panel = ", or `checks` and `judges` of a panel" if self.panel_keys else ""
        return f"{', '.join(names[:-1])} and {names[-1]}{panel}"

    @property
    def known_keys(self) -> Set[str]:
        """Keys that a stage of any kind may have there."""
        of_kinds = frozenset().union(*(_KIND_KEYS[kind] for kind in self.kinds))
        return (of_kinds - self.left_out) | self.prompt_keys | self.keys | self.panel_keys | _COMMON_KEYS


_STAGE: Final = _Place()
_EVALUATOR: Final = _Place(prompt_keys=frozenset({"criteria", "samples", "close"}), panel_keys=_PANEL_KEYS)
_CHECK: Final = _Place(
    kinds=frozenset({"python", "command"}), keys=frozenset({"name"}), left_out=frozenset({"stdout", "result"})
)
_JUDGE: Final = _Place(
    keys=frozenset({"name", "weight", "samples"}), prompt_keys=frozenset({"criteria"}), left_out=frozenset({"output"})
)


def build_stage(document: Document, path: _Path, value: object, folder: Path) -> StageSpec:
    """Build a stage from its settings at ``path``.

    Raises:
        InvalidConfig: a setting cannot be used.
    """
    return _build_stage(document, path, document.mapping(path, value), folder, _STAGE)


def build_evaluator(document: Document, path: _Path, value: object, folder: Path) -> StageSpec | Panel:
    """Build what evaluates: a stage, or a panel of checks and judges.

    Raises:
        InvalidConfig: a setting cannot be used.
    """
    values = document.mapping(path, value)
    if not {"checks", "judges"} & set(values):
        return _build_stage(document, path, values, folder, _EVALUATOR)
    document.mapping(path, values, known=_PANEL_KEYS)
    settings = dict(values)
    for key, build in (("checks", _build_check), ("judges", _build_judge)):
        if key in settings:
            settings[key] = [
                build(document, (*path, key, str(index)), item, folder)
                for index, item in enumerate(_items(document, (*path, key), settings[key]))
            ]
    with locate_errors(document, path):
        return Panel(**settings)


def _build_check(document: Document, path: _Path, value: object, folder: Path) -> Check:
    values = document.mapping(path, value)
    _check_named(document, path, values)
    spec = _build_stage(document, path, values, folder, _CHECK)
    with locate_errors(document, path):
        return Check(spec, name=values["name"])


def _build_judge(document: Document, path: _Path, value: object, folder: Path) -> Judge:
    values = document.mapping(path, value)
    _check_named(document, path, values)
    spec = _build_stage(document, path, values, folder, _JUDGE)
    options = {key: values[key] for key in _JUDGE.keys if key in values}
    with locate_errors(document, path):
        return Judge(spec, **options)


def _check_named(document: Document, path: _Path, values: Mapping[str, Any]) -> None:
    if values.get("name") is None:
        raise document.fault(path, "`name` is missing")


def _items(document: Document, path: _Path, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise document.fault(path, "must be a list")
    return value


def _build_stage(document: Document, path: _Path, values: Mapping[str, Any], folder: Path, place: _Place) -> StageSpec:
    kinds = [kind for key, kind in _KINDS.items() if key in values]
    if len(kinds) != 1 or kinds[0] not in place.kinds:
        raise _kind_fault(document, path, values, place)
    own = _KIND_KEYS[kinds[0]] - place.left_out
    own |= place.prompt_keys if kinds == ["prompt"] else frozenset()
    document.mapping(path, values, known=own | place.keys | _COMMON_KEYS)
    if kinds == ["prompt"] and "model" not in values:
        raise document.fault(path, "`model` is missing")
    settings = {key: item for key, item in values.items() if key in own}
    options = {key: item for key, item in values.items() if key in _COMMON_KEYS}
    if values.get("timeout", 0) is None:
        raise document.fault((*path, "timeout"), "must be a number of seconds, not nothing")
    if "criteria" in settings:
        settings["criteria"] = _build_criteria(document, (*path, "criteria"), settings["criteria"])
    with locate_errors(document, path):
        return StageSpec(_BODIES[kinds[0]](**settings, folder=folder), **options)


def _kind_fault(document: Document, path: _Path, values: Mapping[str, Any], place: _Place) -> InvalidConfig:
    """Return the error of a stage that does not say in one way what it is: of its misspelt key, where it has one."""
    reason = f"must have exactly one of {place.kind_keys}"
    unknown = next((key for key in values if key not in place.known_keys), None)
    if unknown is None or not _KINDS.keys().isdisjoint(values):
        return document.fault(path, reason)
    nearest = difflib.get_close_matches(unknown, place.known_keys, n=1)
    meant = f" did you mean `{nearest[0]}`?" if nearest else ""
    name = f"{path[-2]}.{path[-1]}" if path[-1].isdigit() else path[-1]
    return document.fault((*path, unknown), f"unknown key;{meant} {name} {reason}")


def _build_criteria(document: Document, path: _Path, value: object) -> dict[str, Any]:
    criteria: dict[str, Any] = {}
    for name, item in document.mapping(path, value).items():
        criteria[name] = item
        if not isinstance(item, str):
            values = document.mapping((*path, name), item, known=_CRITERION_KEYS)
            if "ask" not in values:
                raise document.fault((*path, name), "`ask` is missing")
            with locate_errors(document, (*path, name)):
                criteria[name] = Criterion(**values)
    return criteria


@contextmanager
def locate_errors(document: Document, path: _Path) -> Iterator[None]:
    """Add the place in the file to each error that names a key below ``path``."""
    try:
        yield
    except InvalidConfig as error:
        is_agent_name = error.key == "name" and len(path) == 2  # it is itself the last key of the path
        inner = error.key.split(".") if error.key and not is_agent_name else ()
        raise document.fault((*path, *inner), error.reason) from error
