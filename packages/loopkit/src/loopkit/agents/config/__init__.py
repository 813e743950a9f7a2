"""Agents from a file: ``yaml_document`` parses YAML with the line of each value, ``stage_settings`` reads the stages,
checks and judges of an agent, and ``agents_yaml`` builds the agents.
"""
