"""Tests of the values that the pages show."""
