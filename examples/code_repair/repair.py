#!/usr/bin/env python3
"""The stages of `code_repair` as programs: a JSON document on stdin, the result on stdout, log lines on stderr.

The output of an attempt is a patch against the package as it was given. Every stage works in a scratch copy to which
the patch so far was applied; the package itself is only read, and its tests are left as they are. `ruff` and `git` must
be on the PATH.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

COMMON = ["--isolated", "--no-cache", "--quiet", "--exclude", "tests", "--line-length", "100"]
FORMAT = ["ruff", "format", *COMMON, "."]
CHECK = ["ruff", "check", *COMMON, "--select", "E,F,I,B,C4,UP,RUF027", "--ignore", "E501"]
CHECK += ["--preview", "--config", "lint.explicit-preview-rules=true"]  # RUF027 is a preview rule
IGNORED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "node_modules")
SECONDS = 240

Request = dict[str, Any]
"""What a stage gets, as JSON: inputs, output, evaluation and the rest."""
Fault = dict[str, str | None]
"""A fault of the linter: its code, and whether it can be fixed: safe, unsafe or None."""


def produce(request: Request, copy: Path) -> str:
    """Begin with what can do no harm: the formatter."""
    run(FORMAT, copy)
    return patch_of(request, copy)


def evaluate(request: Request, copy: Path) -> str:
    """Score the package: half by the share of the linter's faults that are gone, half by the tests that pass."""
    given = len(lint(source_of(request)))
    faults = lint(copy)
    ran, failures = run_tests(copy)
    fixable = {kind: sum(fault["fix"] == kind for fault in faults) for kind in ("safe", "unsafe")}
    gone = 1 - min(1, len(faults) / given) if given else float(not faults)
    passing = (ran - len(failures)) / ran if ran else 0.0
    lint_told = f"{len(faults)} of {given} faults are left: {listed(faults)}" if faults else ""
    tests_told = f"{len(failures)} of {ran} tests fail: {', '.join(failures)}." if failures else ""
    told = [tests_told or ("" if ran else "There are no tests."), lint_told]
    if faults and any(fixable.values()):
        told.append(f"The linter can fix {fixable['safe']} safely and {fixable['unsafe']} unsafely.")
    return json.dumps(
        {
            "score": round((gone + passing) / 2, 4),
            "feedback": " ".join(filter(None, told)) or "The linter and the tests are content.",
            "criteria": {
                "lint": {"score": round(gone, 4), "feedback": lint_told, "pass_mark": 1},
                "tests": {"score": round(passing, 4), "feedback": tests_told, "pass_mark": 1},
            },
            "fixable": fixable,
        }
    )


def revise(request: Request, copy: Path) -> str:
    """Apply the fixes of the linter: the safe ones first, then those that may change what the code does."""
    fixable = request["evaluation"]["fixable"]
    if fixable["safe"]:
        log("applying the safe fixes")
        run([*CHECK, "--fix-only", "."], copy)
    elif fixable["unsafe"]:
        log("applying the unsafe fixes: the tests will tell whether they were right")
        run([*CHECK, "--fix-only", "--unsafe-fixes", "."], copy)
    else:
        log("the linter has no fix left; the rest needs somebody who can program")
    run(FORMAT, copy)
    return patch_of(request, copy)


def lint(folder: Path) -> list[Fault]:
    """Return the linter's faults."""
    found = json.loads(run([*CHECK, "--output-format", "json", "."], folder, fine=(0, 1)))
    return [{"code": fault["code"], "fix": (fault["fix"] or {}).get("applicability")} for fault in found]


def listed(faults: list[Fault]) -> str:
    """Name the kinds of faults with their counts, the most frequent first."""
    counts = Counter(sorted(str(fault["code"]) for fault in faults))
    return ", ".join(f"{count} {code}" for code, count in counts.most_common()) + "."


def run_tests(folder: Path) -> tuple[int, list[str]]:
    """Run the package's unittest tests; return how many ran, and the names of those that failed."""
    argv = [sys.executable, "-B", "-m", "unittest", "discover", "-t", "."]
    done = subprocess.run(argv, check=False, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    ran = re.search(r"^Ran (\d+) tests?", done.stderr, re.MULTILINE)
    failures = re.findall(r"^(?:FAIL|ERROR): (\S+)", done.stderr, re.MULTILINE)
    return (int(ran[1]) if ran else 0), failures


def run(argv: list[str], folder: Path, *, fine: tuple[int, ...] = (0,), given: str = "") -> str:
    """Run a program in a folder and give its output; any other exit status ends this stage with the program's error."""
    done = subprocess.run(argv, check=False, cwd=folder, input=given, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode not in fine:
        sys.exit(f"{argv[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def log(line: str) -> None:
    print(line, file=sys.stderr)


def source_of(request: Request) -> Path:
    folder = Path(request["inputs"]["folder"]).resolve()
    if not folder.is_dir():
        sys.exit(f"there is no folder {request['inputs']['folder']}")
    return folder


def patch_of(request: Request, copy: Path) -> str:
    """Return what turns the package as it was given into the copy, as a patch for `git apply`."""
    before = copy.parent / "a"
    shutil.copytree(source_of(request), before, ignore=IGNORED)
    copy.rename(copy.parent / "b")
    options = ["--no-index", "--no-ext-diff", "--no-color", "--no-prefix"]
    return run(["git", "diff", *options, "a", "b"], copy.parent, fine=(0, 1))


def main() -> None:
    for tool in ("ruff", "git"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not on the PATH" + ("; pip install ruff" if tool == "ruff" else ""))
    request = json.load(sys.stdin)
    with tempfile.TemporaryDirectory(prefix="code_repair-") as scratch:
        os.environ["GIT_CEILING_DIRECTORIES"] = scratch  # wherever scratch is, git must see no repository around it
        copy = Path(scratch, "copy")
        shutil.copytree(source_of(request), copy, ignore=IGNORED)
        if request["output"]:
            run(["git", "apply", "--whitespace=nowarn", "-"], copy, given=request["output"])
        stage = {"produce": produce, "evaluate": evaluate, "revise": revise}[sys.argv[1]]
        sys.stdout.write(stage(request, copy))


if __name__ == "__main__":
    main()
