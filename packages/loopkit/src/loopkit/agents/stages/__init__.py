"""Kinds of stages that are code.

``python`` calls Python callables, in one of the ``threads`` if they are not async, and ``cancellation`` tells them to
stop; ``lifespan`` opens and closes what they share. ``command`` runs a program: ``process`` starts it under a
``process_guard``, and ``command_output`` reads what it writes.
"""
