"""Servers of the program: the API and dashboard of ``serve``, and the metrics of ``worker``.

``server`` runs uvicorn, with ``request_log`` around the app; ``metrics_server`` needs the standard library alone. Both
listen on what ``sockets`` opens.
"""
