"""Tests of agents and their stages: Python callables, programs, prompts, and agents.yaml."""
