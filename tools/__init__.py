"""Programs for developers, most of them called by make."""
