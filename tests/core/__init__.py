"""Tests of the pure core, a module each."""
