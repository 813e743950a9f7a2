"""Fleets of real processes and real servers that are killed, frozen, cut off or short of disk."""
