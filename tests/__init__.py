"""Tests of loopkit; README.md beside this file says what each folder proves."""
