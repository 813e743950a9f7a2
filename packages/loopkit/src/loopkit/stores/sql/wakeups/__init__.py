"""Hints that there may be work: a source for each database, and the hub that wakes the waiters of this process.

``hub`` holds the waiters, ``file_version`` and ``listener`` are sources, and ``sources`` chooses the one of a database.
Whatever fails here costs a poll interval, never a run. Imports only ``databases``.
"""
