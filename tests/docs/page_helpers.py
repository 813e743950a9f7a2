"""Pages of the documentation and their code blocks, which tests run.

A second word after a block's language is a file's name: the block is written to that file. Blocks of a page are run in
their order, in one folder of their own:

* ``python`` without a name is run as a program;
* ``console`` holds commands after ``$``, and below each the lines that its output must have, in this order; ``...``
  stands for anything, and ids of runs, times and dates may differ;
* ``yaml`` must be YAML, and agents if it says so; ``json`` must be JSON;
* everything else is not run.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import yaml
from markdown_it import MarkdownIt

import loopkit

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"

RUN_ID = re.compile(r"run_[0-9a-z]{26}")
VARYING = re.compile(r"run_[0-9a-z]{26}|\d\d:\d\d:\d\d(\.\d+)?Z?|\d{4}-\d\d-\d\d|\b\d+\.\d s\b")


def pages() -> list[Path]:
    """Return every page, the README first."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@attrs.frozen
class Block:
    """One fenced block of a page."""

    language: str
    file: str | None
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            language, _, file = token.info.strip().partition(" ")
            assert token.map is not None
            yield Block(language, file or None, token.content, token.map[0] + 1)


@attrs.define
class Folder:
    """A folder in which the blocks of one page are run."""

    path: Path
    ids: dict[str, str] = attrs.field(factory=dict)
    """Run ids on the page -> those of this test."""

    def run(self, block: Block) -> None:
        if block.file:
            file = self.path / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self._finish([sys.executable, "-c", block.text])
        elif block.language == "console":
            for command, expected in commands(block.text):
                self._check(command, expected)
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "yaml" and "agents" in (yaml.safe_load(block.text) or {}):
            file = self.path / (block.file or "block.yaml")
            file.write_text(block.text, encoding="utf-8")
            assert loopkit.load_agents(file)

    def _finish(self, argv: list[str]) -> str:
        bin_folder = Path(sys.executable).parent
        env = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "COLUMNS": "200", "PYTHONPATH": ""}
        done = subprocess.run(
            argv, cwd=self.path, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def _check(self, command: str, expected: list[str]) -> None:
        for shown, actual in self.ids.items():
            command = command.replace(shown, actual)
        output = self._finish(["sh", "-c", command])
        shown_ids = dict.fromkeys(RUN_ID.findall("\n".join(expected)))
        new = [shown for shown in shown_ids if shown not in self.ids]
        here = [found for found in dict.fromkeys(RUN_ID.findall(output)) if found not in self.ids.values()]
        self.ids.update(zip(new, here, strict=False))
        lines = iter(normal(output).splitlines())
        for line in expected:
            wanted = re.compile(re.escape(normal(line)).replace(r"\.\.\.", ".*"))
            found = any(wanted.fullmatch(one.rstrip()) for one in lines)
            assert found, f"`{command}` does not write, in this order, the line\n{line}\nbut\n{output}"


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console block with its expected lines."""
    command: str | None = None
    output: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            if command is not None:
                yield command, output
            command, output = line[2:], []
        elif line.strip():
            output.append(line.rstrip())
    if command is not None:
        yield command, output


def normal(text: str) -> str:
    """Return the text with ids, times and dates masked."""
    return VARYING.sub("~", text)
