"""Judgement by a panel of checks and judges, as values and pure functions.

``verdict`` is what a check or a sample of a judge gave, as it is stored; ``verdict_event`` is its event.
``panel_rules`` are what a panel's settings decide; ``panel_results`` one judge's samples taken together;
``panel_feedback`` is the text for the reviser; ``panel_evaluation`` the score and the document of the whole panel.
Each imports only those named before it.
"""
