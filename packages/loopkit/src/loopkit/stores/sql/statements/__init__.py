"""Statements of the write path, each written once for every database.

``parameters`` has the sources of a statement's values. ``changes`` writes what a held run records; ``claims`` gets runs
to work on, and ``claim_fates`` has the events of a claim; ``submissions`` creates runs; ``readback`` reads what was
written. Imports ``databases`` and ``schema``.
"""
