"""Hosts of docs/how-to/hosts.md that the usual environment of the tests lacks: a Celery worker, a notebook."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import loopkit
from tests.docs.page_helpers import DOCS
from tests.frameworks.recipe_helpers import recipes

CONFIGURATION = """
import os
from celery.signals import worker_init

broker_url = "filesystem://"
broker_transport_options = {"data_folder_in": "broker", "data_folder_out": "broker", "control_folder": "broker/control"}
result_backend = f"file://{os.getcwd()}/results"
worker_pool = "prefork"
worker_concurrency = 2
worker_prefetch_multiplier = 1


@worker_init.connect
def open_in_the_parent(**_):
    import celery_recipe

    assert celery_recipe.store.list_runs().runs is not None
    open("opened", "w").write(str(os.getpid()))
"""

CALLER = """
import json
from celery_recipe import write_memo

results = [write_memo.delay(f"owl {number}") for number in range(6)]
print(json.dumps([result.get(timeout=120) for result in results]))
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A folder with the files of the page."""
    for name, text in recipes(DOCS / "how-to/hosts.md").items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_celery(page: Path) -> None:
    """Tasks run loops in forked children, with a store that was opened before the fork."""
    (page / "celeryconfig.py").write_text(CONFIGURATION)
    for folder in ("broker", "broker/control", "results"):
        (page / folder).mkdir()
    env = {**os.environ, "PYTHONPATH": str(page), "C_FORCE_ROOT": "1"}
    command = [sys.executable, "-m", "celery", "-A", "celery_recipe", "worker"]
    command += ["--loglevel", "info", "--without-mingle", "--without-gossip"]
    with (
        (page / "log").open("w") as log,
        subprocess.Popen(command, cwd=page, env=env, stdout=log, stderr=log) as worker,
    ):
        try:
            done = subprocess.run(
                [sys.executable, "-c", CALLER], cwd=page, env=env, capture_output=True, text=True, timeout=150
            )
            assert done.returncode == 0, done.stderr + (page / "log").read_text()
            assert json.loads(done.stdout) == [f"About owl {number}." for number in range(6)]
        finally:
            worker.terminate()
    assert (page / "opened").exists()
    with loopkit.sync.open_store(f"sqlite:///{page}/loopkit.db") as store:
        runs = store.list_runs().runs
    assert [run.status for run in runs] == ["passed"] * 6
    assert "ForkPoolWorker-2" in (page / "log").read_text()


def run_notebook(folder: Path, *cells: str) -> list[Any]:
    """Run cells in a kernel, and return the last value of each."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell.outputs[-1]["data"]["text/plain"] for cell in notebook.cells]


def test_notebook(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells await; ``loopkit.sync`` works beside the running event loop, and ``run_sync`` says that it is the way."""
    monkeypatch.setenv("PYTHONPATH", str(page))
    refused = (
        'try: loopkit.run_sync(memo, {"topic": "owls"})\nexcept loopkit.UsageError as error: said = str(error)\nsaid'
    )
    again = 'loopkit.sync.run(memo, {"topic": "owls"}).output'
    recipe = recipes(DOCS / "how-to/hosts.md")["notebook_recipe.py"]
    first, second, said = run_notebook(page, recipe, again, refused)
    assert (first, second) == ("'About owls.'", "'About owls.'")
    assert "loopkit.sync.run" in said
