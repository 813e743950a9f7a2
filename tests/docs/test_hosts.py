"""The hosts of docs/how-to/hosts.md do what the page says: real servers, asked over HTTP."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.docs.page_helpers import DOCS, blocks

FASTAPI = """
import socket, sys
import uvicorn
from fastapi_host import app

with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])
"""

DJANGO = """
import os
from wsgiref.simple_server import WSGIRequestHandler, make_server
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="x")
django.setup()
import views

urlpatterns = [path("start", views.start), path("read/<run_id>", views.read), path("write", views.write_now)]
list(views.store.list_runs().runs)  # opened here, and anew in the child
server = make_server("127.0.0.1", 0, get_wsgi_application())
if os.fork() == 0:
    server.serve_forever()
print(server.server_port, flush=True)
os.wait()
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A folder with the files of the page."""
    for block in blocks(DOCS / "how-to/hosts.md"):
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    return tmp_path


@contextmanager
def server_of(program: str, folder: Path) -> Iterator[str]:
    """Start a program that prints its port; end its process group at the end."""
    command, env = [sys.executable, "-c", program], {**os.environ, "PYTHONPATH": str(folder)}
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def ask(url: str, method: str = "GET") -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=120) as response:
        return json.load(response)


def refused(url: str) -> int:
    """Return the status of a request that is answered with an error."""
    with pytest.raises(HTTPError) as error:
        ask(url)
    with error.value:
        return error.value.code


def test_fastapi(page: Path) -> None:
    """The runner in the lifespan works what an endpoint has queued."""
    with server_of(FASTAPI, page) as url:
        run = ask(f"{url}/memos?topic=owls", "POST")["run"]
        assert ask(f"{url}/memos/{run}") == {"status": "passed", "output": "About owls."}
        assert refused(f"{url}/memos/run_x") == 404


def test_django(page: Path) -> None:
    """Sync views queue runs, read them, and run them, in a child that was forked after the store was opened."""
    with server_of(DJANGO, page) as url:
        run = ask(f"{url}/start?topic=owls")["run"]
        assert ask(f"{url}/read/{run}") == {"status": "queued", "score": None}
        assert refused(f"{url}/read/run_x") == 404
        assert ask(f"{url}/write?topic=owls") == {"status": "passed", "output": "About owls."}
