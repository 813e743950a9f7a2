"""Faults of whole machines: a disk that is full for a while, a network that is cut."""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import anyio
import psycopg
import pytest

import loopkit
from loopkit.core.lease import Claimant
from loopkit.errors import StorageUnavailable
from loopkit.storage import Held
from tests.chaos.fleet_helpers import Fleet, Worker, fleet, wait_until
from tests.chaos.verdict_helpers import judge
from tests.servers.postgres import Postgres
from tests.tool_helpers import require_root, require_tool

pytestmark = pytest.mark.chaos

NO_ROOM: Final = re.compile(r"run (\S+): the database has no room left")
REFUSALS: Final = 3
"""Number of failed writes before there is room again."""
LONG_STALL: Final = 6.0
"""Seconds; nobody is to lose a run while the disk is full."""
CUTS: Final = 2
"""Number of network cuts; only those count in which the remote worker reports that it lost a run."""
TRIES: Final = 20
"""Most cuts to try; more mean that cuts never make the worker lose a run."""
CUT_SECONDS: Final = 15.0
"""Most seconds that a cut lasts: a server that waits for the rest of a message may hold row locks until then."""
TAKE_OVER_SECONDS: Final = 120.0
"""Most seconds until a server lets go of the locks of a host that vanished; the limit itself is 25 s."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem with room for a little."""
    require_root("to mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Fill a disk for the length of the block."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 65536)
    yield
    filler.unlink()


def refusals(made: Fleet) -> int:
    """Count the writes of one run that failed on the full disk, from the worker's log."""
    return max(Counter(NO_ROOM.findall(made.told)).values(), default=0)


def test_a_disk_that_is_full_for_a_while(small_disk: Path, tmp_path: Path) -> None:
    """Runners wait while nothing can be written, and go on when there is room again; what was acknowledged stays."""
    acknowledged: list[str] = []
    with fleet(f"sqlite:///{small_disk}/loopkit.db", tmp_path, 2, stalled_after=LONG_STALL) as made:
        while refusals(made) < REFUSALS:
            made.struck["full disk"] += 1
            assert made.struck["full disk"] < TRIES, "nobody meets the full disk"
            acknowledged += made.submit(60)
            with filled(small_disk):
                wait_until(lambda: refusals(made) >= REFUSALS or not made.open_runs(), "runs neither wait nor end")
        made.finish()
        ended = judge(made, acknowledged)
    assert ended["passed"] > len(acknowledged) / 2


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, str, str]]:
    """Another host: its namespace, the address of this host as it sees it, and the link between them."""
    require_root("to make a network namespace")
    ip = require_tool("ip", "to make a network namespace")
    name, link, peer = f"loopkit-{os.getpid()}", f"lk{os.getpid() % 100000}a", f"lk{os.getpid() % 100000}b"
    address = f"10.{os.getpid() % 200 + 20}.77"
    for command in (
        f"netns add {name}",
        f"link add {link} type veth peer name {peer} netns {name}",
        f"addr add {address}.1/24 dev {link}",
        f"link set {link} up",
        f"-n {name} addr add {address}.2/24 dev {peer}",
        f"-n {name} link set {peer} up",
        f"-n {name} link set lo up",
    ):
        subprocess.run([ip, *command.split()], check=True)
    yield name, f"{address}.1", link
    subprocess.run([ip, "netns", "delete", name], check=True)


@contextmanager
def cut(link: str) -> Iterator[None]:
    """Cut the network for the length of the block."""
    subprocess.run(["ip", "link", "set", link, "down"], check=True)
    yield
    subprocess.run(["ip", "link", "set", link, "up"], check=True)


@contextmanager
def far_server(address: str) -> Iterator[Postgres]:
    """A server that the other host can reach."""
    with Postgres(tcp=True, settings={"listen_addresses": f"127.0.0.1,{address}"}) as server:
        with (server.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {address}/24 trust\n")
        server.restart()
        yield server


def taken_while_cut(made: Fleet, worker: Worker) -> set[str]:
    """Wait until runs are taken over from a worker without network, and return their ids."""
    held = made.tokens(made.held_by(worker))

    def taken() -> set[str]:
        return {run_id for run_id, token in made.tokens(held).items() if token > held[run_id]}

    def is_over() -> bool:
        return bool(taken()) or made.held_by(worker).isdisjoint(held)

    deadline = time.monotonic() + CUT_SECONDS
    while not is_over() and time.monotonic() < deadline:
        time.sleep(0.05)
    return taken()


def has_lost(made: Fleet, run_ids: set[str]) -> bool:
    """Return whether a worker has logged that it lost one of these runs, so it knew that it held it."""
    return any(f"run {run_id} was lost to another runner" in made.told for run_id in run_ids)


def test_a_network_that_is_cut_and_healed(elsewhere: tuple[str, str, str], tmp_path: Path) -> None:
    """A host that cannot reach the database loses its runs to another and writes nothing to them after it is back."""
    namespace, address, link = elsewhere
    cuts: list[set[str]] = []
    with far_server(address) as server:
        url = server.databases.create()
        far = url.replace("127.0.0.1", address)
        with fleet(url, tmp_path, 1) as made:
            worker = made.hire(far, "ip", "netns", "exec", namespace)
            acknowledged = made.submit(200)
            while sum(has_lost(made, taken) for taken in cuts) < CUTS:
                assert len(cuts) < TRIES, "the far worker loses nothing"
                made.keep_busy(acknowledged)
                wait_until(lambda: made.held_by(worker), "the far worker holds nothing")
                with cut(link):
                    cuts.append(taken_while_cut(made, worker))
            made.finish()
            assert judge(made, acknowledged)["passed"] > len(acknowledged) / 2


async def take_over(url: str, run_id: str) -> Held:
    """Claim a run whose holder has gone as soon as the database lets go of it.

    A claim whose connection is lost, as on a busy machine, waits in vain for the locks to learn what became of it.
    """
    claimant = Claimant(name="near:1", heartbeat=timedelta(seconds=0.4))
    claimed: Sequence[Held] = ()
    async with loopkit.open_store(url, stalled_after=timedelta(seconds=1)) as store:
        with anyio.fail_after(TAKE_OVER_SECONDS):
            while not claimed:
                with suppress(StorageUnavailable):
                    claimed = await store.claim(claimant, {"chaos": "d"})
                await anyio.sleep(0.2)
    [held] = claimed
    assert held.run.id == run_id
    return held


def is_locked(url: str, run_id: str) -> bool:
    """Return whether somebody holds the lock of a run's row."""
    with psycopg.connect(url) as connection:
        try:
            connection.execute("SELECT 1 FROM workflow_runs WHERE id = %s FOR UPDATE NOWAIT", [run_id])
        except psycopg.errors.LockNotAvailable:
            return True
    return False


def test_a_host_that_vanishes_in_the_middle_of_a_write(elsewhere: tuple[str, str, str]) -> None:
    """A statement has arrived and the Sync after it never does: no limit of the server's runs, and it holds the locks.

    By its keepalives it notices within half a minute; TCP alone would take hours.
    """
    namespace, address, link = elsewhere
    with far_server(address) as server:
        url = server.databases.create()
        far = url.replace("127.0.0.1", address)
        program = [sys.executable, "-m", "tests.chaos.vanishing_program", far]
        command = ["ip", "netns", "exec", namespace, *program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            try:
                assert writer.stdout is not None
                run_id = writer.stdout.readline().strip()
                wait_until(lambda: is_locked(url, run_id), "the statement does not arrive")
                with cut(link):
                    held = anyio.run(take_over, url, run_id)
            finally:
                writer.kill()
        assert held.taken_over
