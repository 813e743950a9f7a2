"""Pure core: functions and values without a clock, randomness, input or output, logging or async.

``run``, ``journal``, ``lease`` and ``outcome`` hold the values, all made by ``values.value``; ``machine`` decides
what happens to a run, and ``resumption`` with which stage a claimed run continues.
``inputs`` checks inputs against a JSON Schema, common ones by ``quick_check``; ``strict_json`` says which values can be
stored, and ``ids`` forms ids.
Nothing here imports another part of loopkit but ``errors``.
"""
