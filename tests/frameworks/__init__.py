"""Real agent frameworks and evaluator libraries as stages, run by ``make frameworks`` in their own environments.

The frameworks talk over HTTP to a scripted model server on this machine; any other connection is an error.
"""
