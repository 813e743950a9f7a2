"""After a fork the child works runs of its own, and a store of the parent is refused instead of waited for."""

import subprocess
import sys

import pytest

TIMEOUT_SECONDS = 60
"""A child that waits for a thread of its parent waits for ever; it is given up after this."""

PROGRAM = """
import asyncio, os, signal, sys, warnings
import loopkit

warnings.simplefilter("ignore", DeprecationWarning)  # the parent has threads: that is what this is about
agent = loopkit.Agent(name="a", produce=lambda ctx: "x", evaluate=lambda ctx: 1.0)


def in_child(work):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            print(work(), flush=True)
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the child hangs"

"""

RUNS = """
assert loopkit.run_sync(agent, {}).status == "passed"
in_child(lambda: loopkit.run_sync(agent, {}).status.value)
"""

STORE = """
import threading


async def main():
    async with loopkit.open_store(sys.argv[1]) as store:
        await loopkit.submit(store, agent, [{}])

        async def use():
            try:
                await VERB
            finally:
                await store.aclose()

        def work():  # in a thread without an event loop: that of the parent runs in this one
            errors = []

            def call():
                try:
                    asyncio.run(use())
                except BaseException as error:
                    errors.append(error)

            thread = threading.Thread(target=call)
            thread.start()
            thread.join()
            raise errors[0]

        in_child(work)
        await loopkit.submit(store, agent, [{}])


asyncio.run(main())
"""


def output_of(program: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program, *args], capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_forked_child_works_runs() -> None:
    """The threads of sync stages are the child's own (Celery's prefork, gunicorn's preload, multiprocessing)."""
    assert output_of(RUNS) == "passed\n"


@pytest.mark.parametrize("verb", ["loopkit.submit(store, agent, [{}])", "store.get_run('run_x')"])
def test_a_store_of_the_parent_is_refused(sqlite_url: str, verb: str) -> None:
    """Neither its connections nor its threads belong to the child; the parent goes on with it."""
    printed = output_of(STORE.replace("VERB", verb), sqlite_url)
    assert printed == "StorageUnavailable this store was opened before a fork; open one in the new process\n"


NONCES = """
from loopkit.system_ids import SystemIds

ids = SystemIds()
ids.nonce()
reading, writing = os.pipe()
in_child(lambda: os.write(writing, ids.nonce().encode()))
print(os.read(reading, 32).decode() == ids.nonce())
"""


def test_a_child_gives_out_nonces_of_its_own() -> None:
    """Nonces are drawn before they are needed; a nonce given out twice would be two writes taken for one."""
    command = [sys.executable, "-c", PROGRAM + NONCES]
    assert subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS).stdout == "32\nFalse\n"
