"""Tests of the public types: what users write passes mypy --strict, and mistakes do not."""
