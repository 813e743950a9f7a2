"""The schema: tables, conversion of rows to values, times and cycle ids in SQL, and the migrations that create it.

``tables`` holds the columns, the indexes and the conditions that several statements share; ``rows`` converts rows to
values; ``expressions``, ``timestamps`` and ``cycle_ids`` are SQL functions with one form per database; ``migrations``
brings a database up to date. Imports only ``databases``.
"""
