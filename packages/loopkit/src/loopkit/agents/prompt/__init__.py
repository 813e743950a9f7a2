"""Stages that are prompts for a language model.

``prompt_stage`` is the stage, and ``conversation`` reads its files. ``judgement`` and ``output_object`` hold what is
asked of a judge and of a writer, ``structured_request`` asks for JSON in the form that a model's server understands,
``json_answer`` reads it, ``model_request`` sends one request through pydantic-ai, and ``model_failure`` says which
failed requests are made again. Each imports only those named after it.
"""
