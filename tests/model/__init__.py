"""Models of two runners and one run, explored to their last state. ``python -m tests.model`` prints the result."""
