"""Tests of the shipped examples and of ``make demo``."""
