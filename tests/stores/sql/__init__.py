"""Tests of the SQL store, a module each."""
