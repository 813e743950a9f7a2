"""Tests of the dashboard without a browser: a folder for each of its folders. ``pages`` are tested over HTTP."""
