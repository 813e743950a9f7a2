"""Servers for the browser: an app in a thread of this process, or ``loopkit-cli serve`` in its own process."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import anyio
import uvicorn

TIMEOUT = 30


class _ServerWithoutSignals(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class InThread:
    """App served by uvicorn in a thread, on its own port."""

    def __init__(self, app: Any, port: int = 0) -> None:
        self._app = app
        config = uvicorn.Config(app, port=port, log_config=None, ws="none", lifespan="off", timeout_graceful_shutdown=1)
        self._server = _ServerWithoutSignals(config)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=anyio.run, args=(self._run,), name="served app", daemon=True)

    async def _run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._server.serve)
            while not self._server.started:  # noqa: ASYNC110 - uvicorn offers only this flag
                await anyio.sleep(0.01)
            self._ready.set()

    def __enter__(self) -> str:
        self._thread.start()
        assert self._ready.wait(TIMEOUT)
        host, port = self._server.servers[0].sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def __exit__(self, *exc_info: object) -> None:
        self._app.streams.stop()
        self._server.should_exit = True
        self._thread.join(TIMEOUT)


class InProcess:
    """``loopkit-cli serve --worker``, started as users start it, in a folder with an agents.yaml."""

    def __init__(self, folder: Path, port: int = 0, *options: str, database: Path | None = None) -> None:
        self._folder = folder
        program = str(Path(sys.executable).with_name("loopkit-cli"))
        command = [program, "serve", "--worker", "--port", str(port), *options]
        self._command = [*command, "--database", f"sqlite:///{database or folder / 'runs.db'}"]
        self.url = ""

    def start(self) -> str:
        """Start the server, wait until it prints its URL, and return that."""
        self._process = subprocess.Popen(self._command, cwd=self._folder, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if found := re.search(r"http://[\w.:\[\]]+(?=/)", line):
                self.url = found[0]
                break
        assert self.url, "the server ended before it was ready"
        self._drain = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._drain.start()
        return self.url

    def kill(self) -> None:
        """Kill the server, as a crash would."""
        self._process.kill()
        self._close()

    def stop(self) -> None:
        """Stop the server, as an operator would."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.terminate()
        self._close()

    def _close(self) -> None:
        try:
            self._process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._drain.join(TIMEOUT)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
