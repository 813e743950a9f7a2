"""Audit of a run: whether its stages and its end follow from its policy and from what is stored of it.

``recorded_run`` is what is stored of one run; ``policy_audit`` compares it with what the machine decides.
"""
