"""A small HTTP framework on Starlette's requests and responses: one endpoint table drives everything.

A row (``endpoint``) states method, path, permission, query class, body class and possible problems. Routing, the
checks of a request, the JSON Schema that validates its body and the OpenAPI document all come from that row, so the
document cannot differ from what is checked. ``loopkit_web.app`` runs the checks in one fixed order: no endpoint can
leave one out, and no response reveals what exists before the access hook has accepted the client. With a general
framework each route would declare its checks by itself; that is why these modules exist.

``call`` and ``site`` hold what belongs to one request and to one app. ``request_checks``, ``access``,
``request_values`` and ``json_schema`` check requests; ``problems``, ``json_response`` and ``event_stream`` make
responses, ``content_coding`` compresses them, and ``unread_body`` lets them go before their request is read.
``shared_reads`` lets requests share a read, ``stop_signals`` end event streams with the server, and ``openapi``
describes the table. Imports nothing else of
``loopkit_web`` and calls no method of a store except to close it: what is read or changed is decided by the endpoints.
"""
