"""The command line of loopkit."""
