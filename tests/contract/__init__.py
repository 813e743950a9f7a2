"""Tests from outside: the program as real processes, the database by plain SQL and by the command line."""
