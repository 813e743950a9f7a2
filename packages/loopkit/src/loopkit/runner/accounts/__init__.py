"""Accounts of a held run: ``run_ledger`` knows what is booked and what waits, ``stage_book`` is a stage's way to it."""
