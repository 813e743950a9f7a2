"""Kinds of stages that are code: Python callables and programs, and what they need: threads and processes."""
