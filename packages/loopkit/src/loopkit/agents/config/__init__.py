"""Agents from a file: ``yaml_document`` parses YAML with the line of each value, ``agents_yaml`` builds the agents."""
