"""dbos on SQLite or PostgreSQL: a workflow of four steps, begun by threads without its queue, which would cost more."""

import logging
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSConfig

from benchmarks import standard


def run(place: str, loops: int, concurrency: int) -> dict[str, Any]:
    logging.disable(logging.CRITICAL)
    on_sqlite = "://" not in place
    if on_sqlite:
        sqlite3.connect(place).execute("PRAGMA journal_mode = WAL").close()  # its own default syncs more often
    url = f"sqlite:///{place}" if on_sqlite else place.replace("postgresql://", "postgresql+psycopg://")
    config: DBOSConfig = {
        "name": "standard",
        "system_database_url": url,
        "enable_otlp": False,
        "log_level": "CRITICAL",
        "sys_db_pool_size": concurrency,
    }
    DBOS(config=config)

    @DBOS.step()
    def write(number: int, inputs: dict[str, Any], feedback: str | None) -> str:
        return standard.output(number)

    @DBOS.step()
    def judge(attempt: int, output: str) -> dict[str, Any]:
        return standard.evaluation(attempt)

    @DBOS.workflow()
    def loop(number: int, inputs: dict[str, Any]) -> float:
        feedback = None
        for attempt in (1, 2):
            judged = judge(attempt, write(number, inputs, feedback))
            feedback = judged["feedback"]
        return float(judged["score"])

    DBOS.launch()
    loop(-1, standard.INPUTS)
    began = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as threads:
        scores = list(threads.map(lambda number: loop(number, standard.INPUTS), range(loops)))
    took = time.perf_counter() - began
    assert scores == [standard.SCORES[2]] * loops
    synchronous = _synchronous(url) if on_sqlite else "synchronous_commit=on"
    DBOS.destroy()
    return {
        "system": f"dbos {version('dbos')}",
        "settings": f"{synchronous}, {concurrency} threads, no queue",
        "loops": loops,
        "seconds": took,
    }


def _synchronous(url: str) -> str:
    """Return the durability settings of a plain connection; dbos sets none, so they are SQLite's defaults."""
    with sqlalchemy.create_engine(url).connect() as connection:
        value = connection.exec_driver_sql("PRAGMA synchronous").scalar()
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    return f"synchronous={('OFF', 'NORMAL', 'FULL')[int(value or 0)]}, {mode}"
