"""The schema: tables, conversion of rows to values, times and cycle ids in SQL, and the migrations that create it.

``tables`` holds the columns and the conditions that several statements share, and ``indexes`` the indexes; ``rows``
converts rows to values; ``expressions``, ``timestamps``, ``cycle_ids`` and ``policy_values`` are SQL functions with one
form per database; ``migrations`` brings a database up to date. Imports only ``databases``.
"""
