"""The dashboard: pages that work without a script.

``page_table`` lists the pages; ``pages`` handle their requests, ``views`` compute what they show as frozen values,
``forms`` build forms from JSON Schemas, ``markup`` renders, ``templates`` and ``static`` are the files, of which
``assets`` sends the latter. Imports ``http``, ``actions`` and ``fleet``; never ``api``.
"""
