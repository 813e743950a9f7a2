"""Agents and their stages: Python callables, programs, and prompts."""

from loopkit.agents.agent import Agent, StageBody, StageContext, StageSpec
from loopkit.agents.calling import backoff, call

__all__ = ["Agent", "StageBody", "StageContext", "StageSpec", "backoff", "call"]
