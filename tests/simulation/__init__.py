"""The shipped code on virtual time, under schedules with faults. ``python -m tests.simulation`` runs more of them."""
