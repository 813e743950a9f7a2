"""Statements of the write path, each written once for every database.

``parameters`` has the sources of a statement's values. ``changes`` writes what a held run records, ``ledger_rows`` its
model calls and verdicts, and ``change_rows`` whole sets of changes at once. ``claims`` gets runs to work on, and
``claim_fates`` has the events of a claim; ``submissions`` creates runs; ``readback`` reads what was written. Imports
``databases`` and ``schema``.
"""
