"""The life of a write, from the call of a verb to the rows of a committed transaction.

1. ``write_path``: a verb of the store creates a request (``requests``) with all that the transaction needs.
2. ``lanes``: the request goes to the thread of the writer, which starts with its first request.
3. ``request_queue``: requests that wait are taken as one batch; those with a key in common wait for the next one.
4. ``writer``: performs the batch, retries passing failures, and finds out whether a commit without an answer happened.
5. ``batch`` sorts it by kind; an executor performs it in one transaction: ``sqlite_executor`` request by request,
   ``postgresql_executor`` and ``libsql_executor`` by whole sets of requests (``set_based``).
6. Each request gets its outcome and its caller is woken; ``outcomes`` turns it into runs, leases and errors.

Reads and the rarer writes are plain functions, run by ``transactions``. Imports ``databases``, ``schema``,
``statements`` and ``operations``.
"""
