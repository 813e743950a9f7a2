"""Agents from agents.yaml. Every fault is told with the file, the line and the key.

The YAML is data: no tags that make objects, no aliases, no key twice, bounded depth and size. What a value may be is
decided where it is used, by the agent and its stages; here only its place is added.
"""

from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import Any, Final

from loopkit.agents.agent import Agent, StageBody, StageSpec
from loopkit.agents.command import CommandStage
from loopkit.agents.document import Document, read
from loopkit.agents.prompt import PromptStage
from loopkit.agents.python import ImportedStage
from loopkit.agents.wording import kind_of
from loopkit.errors import InvalidConfig, UnknownAgent

__all__ = ["find_agent", "load_agents"]

MAX_FILE_BYTES: Final = 16 << 20

_AGENT_KEYS: Final = frozenset({"description", "max_attempts", "pass_threshold", "output_suffix", "inputs"})
_STAGES: Final = ("produce", "evaluate", "revise")
_COMMON_KEYS: Final = frozenset({"timeout", "retries"})
_KIND_KEYS: Final[Mapping[str, Set[str]]] = {
    "python": frozenset({"python"}),
    "command": frozenset({"command", "env"}),
    "prompt": frozenset(
        {"prompt", "model", "base_url", "api_key_env", "temperature", "max_tokens", "seed", "extra_body"}
    ),
}

_BODIES: Final[Mapping[str, Callable[..., StageBody]]] = {
    "python": ImportedStage,
    "command": CommandStage,
    "prompt": PromptStage,
}


def load_agents(path: str | PathLike[str]) -> dict[str, Agent]:
    """Give the agents of a configuration file by name, in its order.

    Raises:
        InvalidConfig: the file is missing, or something in it cannot be used.
    """
    document = read(_content(Path(path)), str(path))
    folder = Path(path).absolute().parent
    top = document.mapping((), document.root, known={"agents"})
    if "agents" not in top:
        raise document.fault((), "`agents` is missing")
    named = document.mapping(("agents",), top["agents"])
    return {name: _agent(document, ("agents", name), value, folder) for name, value in named.items()}


def find_agent(agents: Mapping[str, Agent], name: str, source: str | None = None) -> Agent:
    """Give the agent of that name.

    Raises:
        UnknownAgent: there is none; the error names ``source`` and those it has.
    """
    try:
        return agents[name]
    except KeyError:
        raise UnknownAgent(name, agents, source) from None


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise InvalidConfig("there is no such file (loopkit-cli init makes one)", file=str(path)) from None
    except OSError as error:
        raise InvalidConfig(f"cannot be read: {error.strerror}", file=str(path)) from error
    if len(content) > MAX_FILE_BYTES:
        raise InvalidConfig(f"is larger than {MAX_FILE_BYTES} bytes", file=str(path))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidConfig("is not UTF-8", file=str(path), line=content[: error.start].count(b"\n") + 1) from error


_Path = tuple[str, ...]


def _agent(document: Document, path: _Path, value: object, folder: Path) -> Agent:
    given = document.mapping(path, value, known={*_AGENT_KEYS, *_STAGES})
    for stage in ("produce", "evaluate"):
        if stage not in given:
            raise document.fault(path, f"`{stage}` is missing")
    settings: dict[str, Any] = {
        key: _stage(document, (*path, key), item, folder) if key in _STAGES else item for key, item in given.items()
    }
    if "inputs" in given:
        document.mapping((*path, "inputs"), given["inputs"])  # `inputs:` with nothing after it is a slip
    with _placed(document, path):
        return Agent(name=path[-1], **settings)


def _stage(document: Document, path: _Path, value: object, folder: Path) -> StageSpec:
    given = document.mapping(path, value)
    kinds = [kind for kind in _KIND_KEYS if kind in given]
    if len(kinds) != 1:
        raise document.fault(path, "must have exactly one of `python`, `command` and `prompt`")
    given = document.mapping(path, value, known=_KIND_KEYS[kinds[0]] | _COMMON_KEYS)
    if kinds == ["prompt"] and "model" not in given:
        raise document.fault(path, "`model` is missing")
    own = {key: item for key, item in given.items() if key not in _COMMON_KEYS}
    with _placed(document, path):
        timeout = _timeout(given["timeout"]) if "timeout" in given else None
        return StageSpec(_BODIES[kinds[0]](**own, folder=folder), timeout=timeout, retries=given.get("retries", 0))


def _timeout(value: object) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidConfig(f"must be a number of seconds, not {kind_of(value)}", key="timeout")
    if not 0 < value <= 1e9:
        raise InvalidConfig("must be more than 0 s", key="timeout")
    return timedelta(seconds=value)


@contextmanager
def _placed(document: Document, path: _Path) -> Iterator[None]:
    """Add the place in the file to an error that names a key below ``path``."""
    try:
        yield
    except InvalidConfig as error:
        # A name is itself the last key of the path.
        inner = error.key.split(".") if error.key and error.key != "name" else ()
        raise document.fault((*path, *inner), error.reason) from error
