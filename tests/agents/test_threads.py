"""Daemon threads: calls run at once, and a call that hangs is left behind."""

import subprocess
import sys
import threading
from contextvars import ContextVar
from functools import partial

import anyio
import pytest

from loopkit.agents.stages.threads import DaemonThreads, call_in_thread, wait_for_result, wait_until_done

COLOUR: ContextVar[str] = ContextVar("colour", default="none")


async def test_a_call_is_made_in_another_thread_with_the_callers_context() -> None:
    """The thread is a daemon, and context variables are seen in it."""
    COLOUR.set("green")
    thread, colour = await call_in_thread(lambda: (threading.current_thread(), COLOUR.get()))
    assert thread is not threading.current_thread()
    assert thread.daemon
    assert colour == "green"


async def test_one_thread_does_for_calls_that_follow_each_other() -> None:
    """A thread is used again as soon as it has passed its result on."""
    threads = DaemonThreads()
    used = {await wait_for_result(threads.call(threading.get_ident)) for _ in range(20)}
    assert len(used) == 1


async def test_calls_at_the_same_time_have_a_thread_each() -> None:
    """No call waits for another: all of them meet at one barrier."""
    barrier = threading.Barrier(8, timeout=60)
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(call_in_thread, barrier.wait)


async def test_what_a_call_raises_reaches_the_caller() -> None:
    """Every exception is carried over, the unusual ones too."""
    with pytest.raises(SystemExit, match="over"):
        await call_in_thread(lambda: sys.exit("over"))


async def test_a_cancelled_caller_leaves_the_call_behind() -> None:
    """Nobody waits for a thread that hangs, and its late result goes nowhere."""
    began, release, ended = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        release.wait(60)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call_in_thread, hang)
        await call_in_thread(partial(began.wait, 60))
        tasks.cancel_scope.cancel()
    assert not ended.is_set()
    release.set()
    assert ended.wait(60)


async def test_a_call_cancelled_before_its_thread_began_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A future cancelled in time cancels its call, and its thread serves the next."""
    threads, release = DaemonThreads(), threading.Event()
    called: list[str] = []

    class Slow(threading.Thread):
        def run(self) -> None:
            release.wait(60)
            super().run()

    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", Slow)
        future = threads.call(lambda: called.append("cancelled"))
    future.cancel()
    release.set()
    await wait_until_done(future)
    await wait_for_result(threads.call(lambda: called.append("next")))
    assert called == ["next"]


async def test_an_idle_thread_ends() -> None:
    """A burst of calls leaves no threads behind for ever."""
    threads = DaemonThreads(idle_seconds=0.01)
    thread = await wait_for_result(threads.call(threading.current_thread))
    thread.join(60)
    assert not thread.is_alive()
    assert await wait_for_result(threads.call(threading.current_thread)) is not thread


async def test_a_thread_that_is_about_to_end_serves_the_call_it_was_given() -> None:
    """However short threads wait for a call, none is lost."""
    threads = DaemonThreads(idle_seconds=0)
    for number in range(50):
        assert await wait_for_result(threads.call(partial(abs, -number))) == number


def test_an_event_loop_that_is_over_hurts_nobody() -> None:
    """A call that outlives its event loop ends quietly."""
    threads, began, release = DaemonThreads(idle_seconds=0.01), threading.Event(), threading.Event()
    running: list[threading.Thread] = []

    def hang() -> None:
        running.append(threading.current_thread())
        began.set()
        release.wait(60)

    async def leave() -> None:
        future = threads.call(hang)
        await call_in_thread(partial(began.wait, 60))
        with anyio.move_on_after(0):
            await wait_for_result(future)

    anyio.run(leave)
    release.set()
    running[0].join(60)
    assert not running[0].is_alive()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_left_behind_does_not_keep_the_interpreter(backend: str) -> None:
    """A process ends although a stage hangs in one of its threads."""
    program = f"""
import anyio, threading
from loopkit.agents.stages.threads import call_in_thread
async def main():
    with anyio.move_on_after(0.05):
        await call_in_thread(threading.Event().wait)
    print("left")
anyio.run(main, backend={backend!r})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("left\n", "", 0)
