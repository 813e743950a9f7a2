"""The store in SQLAlchemy Core for SQLite, PostgreSQL and libSQL/Turso.

``opener`` opens the store of a URL, ``store`` has its verbs, ``executors`` chooses who writes to its database; ``move``
copies a database to another. Beneath them, imports run from left to right only: ``writes`` -> ``operations`` ->
``statements`` -> ``schema``, ``wakeups`` -> ``databases``.
"""
