"""Agents and their stages: Python callables, programs, and prompts."""

from loopkit.agents.agent import Agent, StageBody, StageContext, StageSpec
from loopkit.agents.calling import backoff, call
from loopkit.agents.command import CommandStage
from loopkit.agents.loading import find_agent, load_agents
from loopkit.agents.prompt import PromptStage
from loopkit.agents.python import FunctionStage, ImportedStage

__all__ = [
    "Agent",
    "CommandStage",
    "FunctionStage",
    "ImportedStage",
    "PromptStage",
    "StageBody",
    "StageContext",
    "StageSpec",
    "backoff",
    "call",
    "find_agent",
    "load_agents",
]
