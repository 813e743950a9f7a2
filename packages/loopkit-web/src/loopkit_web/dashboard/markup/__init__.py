"""Rendering of values for a browser: templates, Markdown, JSON trees, differences and charts. Reads no store."""
