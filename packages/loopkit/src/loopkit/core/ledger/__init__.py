"""Ledger of a run: its model calls, and the sums of them that the run's row holds."""
