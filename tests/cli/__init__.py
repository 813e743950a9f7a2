"""Tests of the command line inside this process; those of real processes are in tests/contract."""
