"""Tests of Markdown, JSON trees, differences, charts and texts."""
