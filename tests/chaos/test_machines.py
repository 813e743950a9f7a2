"""What happens to whole machines: a disk that is full for a while, a network that is cut."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.fleet import fleet
from tests.chaos.judging import judge
from tests.servers.postgres import Postgres
from tests.tools import require_root, require_tool

pytestmark = pytest.mark.chaos


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem with room for a little."""
    require_root("to mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_is_full_for_a_while(small_disk: Path, tmp_path: Path) -> None:
    """Runners wait while nothing can be written, and go on when there is room again; what was acknowledged stays."""
    with fleet(f"sqlite:///{small_disk}/loopkit.db", tmp_path, 2) as made:
        acknowledged = made.submit(60)
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 65536)
        before = made.open_runs()
        time.sleep(2)
        stuck = made.open_runs()
        filler.unlink()
        made.finish()
        ended = judge(made, acknowledged)
    assert before > 0
    assert stuck > 0, "the disk was never full while there was work"
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


def test_a_network_that_is_cut_and_healed(elsewhere: tuple[str, str, str], tmp_path: Path) -> None:
    """A host that cannot reach the database loses its runs to another and writes nothing to them after it is back."""
    namespace, address, link = elsewhere
    with Postgres(tcp=True, settings={"listen_addresses": f"127.0.0.1,{address}"}) as server:
        with (server.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {address}/24 trust\n")
        server.restart()
        url = server.databases.create()
        far = url.replace("127.0.0.1", address)
        with fleet(url, tmp_path, 1) as made:
            made.hire(far, "ip", "netns", "exec", namespace)
            acknowledged = made.submit(200)
            for _ in range(2):
                time.sleep(0.5)
                subprocess.run(["ip", "link", "set", link, "down"], check=True)
                time.sleep(3)
                subprocess.run(["ip", "link", "set", link, "up"], check=True)
            made.finish()
            assert judge(made, acknowledged)["passed"] > len(acknowledged) / 2
