"""Tests of the HTTP API, in this process and mounted in every kind of host app."""
