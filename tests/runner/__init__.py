"""Tests of the runner and of the functions that run agents from Python."""
