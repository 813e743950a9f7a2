"""Panel of an agent: the checks and judges of its outputs, as values.

``criterion`` is one standard that a prompt judge is asked for, ``check_body`` the work of a check, ``panel_spec`` the
whole. The runner calls them (``loopkit.runner.verdicts``), and the score is made in ``loopkit.core.panel``.
"""
