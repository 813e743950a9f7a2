"""A model of two runners and one run, explored to its last state. ``python -m tests.model`` prints what was found."""
