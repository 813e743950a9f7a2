"""Calls of a panel: its checks in order, its judges at the same time, and each verdict stored as it comes.

``panel_call`` asks whoever has not given its verdict yet, and ``part_call`` is one call of a check or of a sample.
"""
