"""Agents and their stages, as the runner calls them.

``agent`` holds an agent, ``stage_spec`` a stage with its options, ``evaluators`` a panel, and ``run_title`` the titles
of runs; ``stage_factories`` makes stages in Python, and ``config`` loads agents from agents.yaml, both with the checks
of ``setting_checks``. ``stages`` holds Python callables and programs, ``prompt`` the stages that are prompts; their
files are filled by ``template`` in the sandbox of ``template_sandbox``. ``context`` holds the protocol of a stage and
what each call gets, and ``stage_call`` calls a stage with its timeout and retries. What the stage returned is read
strictly by ``results`` through ``json_values``; what it raised is described by ``error_text`` and ``error_place``,
without the ``secret_values``; what its models used is read and booked by ``usage``.
"""

from loopkit.agents.agent import Agent, StageBody, StageContext, StageSpec, agents_by_name
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
    "agents_by_name",
    "backoff_seconds",
    "call_stage",
    "find_agent",
    "load_agents",
]
