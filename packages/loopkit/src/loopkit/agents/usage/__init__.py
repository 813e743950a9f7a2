"""Usage of models by stages: how it is read, priced and booked.

``reported_usage`` reads what libraries and programs report, programs in a ``usage_file`` and evaluators in their
evaluation (``evaluation_usage``). ``prices`` turns tokens into money, and ``call_book`` is the book of a stage's call:
the runner's for its runs, none where a stage is called without a runner.
"""
