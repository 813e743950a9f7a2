"""Pure core: functions and values without a clock, randomness, input or output, logging or async.

``run``, ``policy``, ``journal``, ``lease`` and ``outcome`` hold the values, most of them made by ``values``;
``attempts`` reads what is stored of a run's attempts. ``machine`` decides what happens to a run, ``resumption`` with
which stage a claimed run continues, and ``stage_material`` which stored results that stage gets; ``run_actions`` are
what people and programs request. ``panel`` judges by checks and judges, ``ledger`` counts model calls, ``labels`` are
title and tags, and ``audit`` checks a stored run against its policy.
``inputs`` checks inputs against a JSON Schema, common ones by ``quick_check``; ``strict_json`` says which values can be
stored, ``cut_json`` reads the beginning of a JSON text, and ``ids`` forms ids.
Nothing here imports another part of loopkit but ``errors``.
"""
