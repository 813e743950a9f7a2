"""Stages that are prompts for a language model.

``prompt_stage`` is the stage, and ``conversation`` reads its files. ``criteria_judgement``, ``judgement`` and
``output_object`` hold what is asked of a judge and of a writer. ``structured_request`` asks for JSON in the form that
a model's server understands, and ``json_answer`` reads it. ``booked_request`` books each request that
``model_request`` sends through pydantic-ai, and ``model_failure`` says which failed requests are made again. Each
imports only those named after it.
"""

from loopkit.agents.prompt.judgement import JUDGE_INSTRUCTIONS as _JUDGING

__all__: list[str] = []

assert _JUDGING, "the instructions that stand before every judge's prompt"
