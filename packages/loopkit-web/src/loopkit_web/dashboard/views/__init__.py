"""View models: frozen values that the templates lay out, computed from runs, events and artifacts.

Nothing here reads a store, a clock or a request; the handlers in ``pages`` do, and pass in what they read.
"""
