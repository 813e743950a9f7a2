"""The endpoints of the HTTP API, one module per subject; ``endpoint_table`` lists them all.

``shapes`` has the responses other than runs, events and artifacts. Imports ``http``, ``actions`` and ``fleet``; never
``dashboard``.
"""
