"""Checks of what is stored, for ``verify``: ``invariants`` of rows with ``ledger_rules`` and ``label_rules``, each a
condition in SQL (``rules``), and ``policy_rules``, which the machine decides.
"""
