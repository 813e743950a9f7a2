"""A framework as these tests use it: stages that ask the model server, and what becomes of its own results."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import attrs

from loopkit import StageContext

MEMO = "A memo."

StageFunction = Callable[[StageContext], Any]


@attrs.frozen(kw_only=True)
class Stages:
    """Stages made with one framework, sharing one client; they ask the server that ``OPENAI_BASE_URL`` names."""

    asynchronous: StageFunction | None
    """Writes a memo, as text; None: the framework has no async calls."""
    synchronous: StageFunction
    """The same without async."""
    raw: StageFunction
    """Returns the framework's own result."""


@attrs.frozen(kw_only=True)
class Framework:
    """A framework and what is expected of it."""

    name: str
    """As in the table of the documentation."""
    make: Callable[[], Stages]
    is_async: bool = True
    """Whether it has async calls."""
    is_raw: Callable[[Any], bool] = lambda _: False
    """Whether this is the stored output of its own result."""
    raw_error: str | None = None
    """What is said in place of an output, if its own result is refused."""
    answer: str = MEMO
    """What the model says so that the stage writes the memo."""


_MODULES = {
    "pydantic_ai": "pydantic_ai_stages",
    "agents": "openai_agents_stages",
    "langchain_openai": "langchain_stages",
    "langgraph": "langgraph_stages",
    "smolagents": "smolagents_stages",
    "dspy": "dspy_stages",
    "llama_index": "llama_index_stages",
}
"""Module beside this one, by the package that it needs."""


def installed() -> list[Framework]:
    """Return the frameworks that this environment has."""
    modules = (import_module(f"tests.frameworks.{name}") for package, name in _MODULES.items() if find_spec(package))
    return [module.FRAMEWORK for module in modules]
