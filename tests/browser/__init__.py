"""Tests of the dashboard in a real browser: Chromium without a window."""
