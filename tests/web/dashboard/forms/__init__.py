"""Tests of the forms that are built from JSON Schemas."""
