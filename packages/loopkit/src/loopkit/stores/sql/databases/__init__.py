"""Everything that differs between databases: engines, SQL, URLs, and the meaning of errors.

``database`` holds the interface, :class:`~.database.Database`; ``sqlite`` (with ``sqlite_wal``), ``postgresql`` (with
``postgresql_connection``) and ``libsql`` (with ``libsql_client``) implement it, and ``sqlite_family`` holds the SQL
that SQLite and libSQL share. ``urls`` opens the database of a URL; ``failures`` classifies driver errors. Nothing here
imports another folder of the store.
"""
