"""Agents from agents.yaml. Every error names the file, the line and the key.

The YAML is data: no tags that make objects, no aliases, no duplicate keys, bounded depth and size. Values are checked
by the agent and its stages; this module adds the place in the file.
"""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

import attrs

from loopkit.agents.agent import Agent
from loopkit.agents.config.stage_settings import build_evaluator, build_stage, locate_errors
from loopkit.agents.config.yaml_document import Document, read_document
from loopkit.agents.run_title import title_of_file
from loopkit.agents.stages.lifespan import ImportedLifespan
from loopkit.core.ledger.budget import Budget
from loopkit.core.policy import Stop
from loopkit.errors import InvalidConfig, UnknownAgent

__all__ = ["find_agent", "load_agents"]

MAX_FILE_BYTES: Final = 16 << 20

_AGENT_KEYS: Final = frozenset(
    {
        *("description", "max_attempts", "pass_threshold", "output_suffix", "inputs"),
        *("drafts", "revise_from", "stop", "budget", "max_losses", "title"),
    }
)
_VALUES: Final[Mapping[str, type[Stop | Budget]]] = {"stop": Stop, "budget": Budget}
"""Keys of an agent that hold values of their own."""
_BUILDERS: Final = {"produce": build_stage, "evaluate": build_evaluator, "revise": build_stage}
"""Builders of the stages, by their keys."""


def load_agents(path: str | PathLike[str]) -> dict[str, Agent]:
    """Load the agents of a configuration file, by name and in the order of the file.

    Raises:
        InvalidConfig: the file is missing, or a value in it cannot be used.
    """
    document = read_document(_read_file(Path(path)), str(path))
    folder = Path(path).absolute().parent
    top = document.mapping((), document.root, known={"agents", "lifespan"})
    if "agents" not in top:
        raise document.fault((), "`agents` is missing")
    values = document.mapping(("agents",), top["agents"])
    shared = _shared_settings(document, top, folder)
    return {name: _build_agent(document, ("agents", name), value, folder, shared) for name, value in values.items()}


def _shared_settings(document: Document, top: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return what all agents of the file have in common."""
    if "lifespan" not in top:
        return {}
    with locate_errors(document, ()):
        return {"lifespan": ImportedLifespan(top["lifespan"], folder)}


def find_agent(agents: Mapping[str, Agent], name: str, source: str | None = None) -> Agent:
    """Return the agent with the given name.

    Raises:
        UnknownAgent: there is none; the error names ``source`` and the agents that it has.
    """
    try:
        return agents[name]
    except KeyError:
        raise UnknownAgent(name, agents, source) from None


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise InvalidConfig("there is no such file; loopkit-cli init creates one", file=str(path)) from None
    except OSError as error:
        raise InvalidConfig(f"cannot be read: {error.strerror}", file=str(path)) from error
    if len(content) > MAX_FILE_BYTES:
        raise InvalidConfig(f"is larger than {MAX_FILE_BYTES} bytes", file=str(path))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidConfig("is not UTF-8", file=str(path), line=content[: error.start].count(b"\n") + 1) from error


_Path = tuple[str, ...]


def _build_agent(document: Document, path: _Path, value: object, folder: Path, shared: Mapping[str, Any]) -> Agent:
    values = document.mapping(path, value, known={*_AGENT_KEYS, *_BUILDERS})
    for stage in ("produce", "evaluate"):
        if stage not in values:
            raise document.fault(path, f"`{stage}` is missing")
    settings: dict[str, Any] = {
        key: _BUILDERS[key](document, (*path, key), item, folder) if key in _BUILDERS else item
        for key, item in values.items()
    }
    for key, cls in _VALUES.items():
        if key in values:
            settings[key] = _build_value(document, (*path, key), values[key], cls)
    if "title" in values:
        with locate_errors(document, path):
            settings["title"] = title_of_file(values["title"])
    if "inputs" in values:
        document.mapping((*path, "inputs"), values["inputs"])  # an empty `inputs:` is a mistake
    with locate_errors(document, path):
        agent = Agent(name=path[-1], **settings, **shared)
    for fault in agent.default_faults():
        parts = (part.replace("~1", "/").replace("~0", "~") for part in fault.pointer.split("/")[1:])
        raise document.fault((*path, "inputs", *parts), fault.detail)
    _check_choices(document, (*path, "inputs"), agent.inputs)
    return agent


def _check_choices(document: Document, path: _Path, schema: object) -> None:
    """Refuse members of an ``enum`` of texts that YAML took for something else: nobody could choose them.

    Raises:
        InvalidConfig: there is one, such as ``NO``, which YAML 1.1 reads as false.
    """
    if isinstance(schema, list):
        for index, part in enumerate(schema):
            _check_choices(document, (*path, str(index)), part)
    if not isinstance(schema, dict):
        return
    choices = schema.get("enum")
    if schema.get("type") == "string" and isinstance(choices, list):
        for index, choice in enumerate(choices):
            place = (*path, "enum", str(index))
            if not isinstance(choice, str) and document.typed_text(place):
                raise document.fault(place, "is not text, as `type: string` asks")
    for name, part in schema.items():
        _check_choices(document, (*path, name), part)


def _build_value(document: Document, path: _Path, value: object, cls: type[Stop | Budget]) -> Stop | Budget:
    values = document.mapping(path, value, known={field.name for field in attrs.fields(cls)})
    if "min_delta" in values and "patience" not in values:
        raise document.fault((*path, "min_delta"), "goes with `patience` only")
    with locate_errors(document, path):
        return cls(**values)
