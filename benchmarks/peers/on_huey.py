"""huey on SQLite with ``fsync``: a task a stage, which keeps its result and queues the next stage."""

import logging
import threading
import time
from importlib.metadata import version
from typing import Any

from huey import SqliteHuey

from benchmarks import standard

SETTINGS = "fsync=True (synchronous=FULL), WAL, {threads} threads"


def run(place: str, loops: int, concurrency: int) -> dict[str, Any]:
    logging.disable(logging.CRITICAL)
    huey = SqliteHuey(standard.NAME, filename=place, fsync=True)
    ended, everyone = 0, threading.Event()
    lock = threading.Lock()

    @huey.task()
    def produce(number: int, attempt: int, inputs: dict[str, Any], feedback: str | None) -> str:
        made = standard.output(number)
        evaluate(number, attempt, inputs, made)
        return made

    @huey.task()
    def evaluate(number: int, attempt: int, inputs: dict[str, Any], output: str) -> dict[str, Any]:
        nonlocal ended
        judged = standard.evaluation(attempt)
        if judged["score"] < standard.THRESHOLD:
            produce(number, attempt + 1, inputs, judged["feedback"])
        else:
            with lock:
                ended += 1
                if ended == loops:
                    everyone.set()
        return judged

    queued = time.perf_counter()
    for number in range(loops):
        produce(number, 1, standard.INPUTS, None)
    queued = time.perf_counter() - queued
    consumer = huey.create_consumer(workers=concurrency, periodic=False, initial_delay=0.001, max_delay=0.05)
    began = time.perf_counter()
    consumer.start()
    everyone.wait()
    while huey.storage.result_store_size() < 4 * loops:
        time.sleep(0.001)
    took = time.perf_counter() - began
    consumer.stop(graceful=True)
    return {
        "system": f"huey {version('huey')}",
        "settings": SETTINGS.format(threads=concurrency),
        "loops": loops,
        "seconds": took,
        "queued": loops / queued,
    }
