"""The HTTP API and dashboard of loopkit."""
