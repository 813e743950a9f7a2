"""Agents and their stages, as the runner calls them.

``agent`` holds an agent, ``stage_spec`` a stage with its options, and ``stage_factories`` makes such stages in Python;
``config`` loads agents from agents.yaml. ``stages`` holds Python callables and programs, ``prompt`` the stages that are
prompts. ``stage_call`` calls a stage with its timeout and retries; what the stage returned is read strictly by
``results``, and what it raised is described by ``error_text``.
"""

from loopkit.agents.agent import Agent, StageBody, StageContext, StageSpec
from loopkit.agents.config.agents_yaml import find_agent, load_agents
from loopkit.agents.prompt.prompt_stage import PromptStage
from loopkit.agents.stage_call import backoff_seconds, call_stage
from loopkit.agents.stages.command import CommandStage
from loopkit.agents.stages.python import FunctionStage, ImportedStage

__all__ = [
    "Agent",
    "CommandStage",
    "FunctionStage",
    "ImportedStage",
    "PromptStage",
    "StageBody",
    "StageContext",
    "StageSpec",
    "backoff_seconds",
    "call_stage",
    "find_agent",
    "load_agents",
]
