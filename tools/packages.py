"""Build of the three packages with checks of contents, metadata, and an install into an empty environment.

``python tools/packages.py`` from the root; the archives stay in ``.out/dist``. It stops at the first error.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / ".out" / "dist"
PACKAGES = {"loopkit": "loopkit", "loopkit-web": "loopkit_web", "loopkit-cli": "loopkit_cli"}
UV = Path(sys.executable).with_name("uv")


def main() -> None:
    build()
    check_install()
    print("installed into an empty environment without loopkit-web; loopkit-cli --help answers")


def build() -> None:
    """Build a wheel and an sdist of each package into an empty ``DIST``, and check what is in them."""
    shutil.rmtree(DIST, ignore_errors=True)
    for name, module in PACKAGES.items():
        folder = ROOT / "packages" / name
        run(UV, "build", "--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir", DIST, folder)
        check_wheel(folder, name, module)
        check_sdist(folder, module)
        print(f"{name}: wheel and sdist hold what they should")


def sources(folder: Path, module: str) -> set[str]:
    """Return the files of a package that git tracks, relative to ``src``."""
    listed = run(
        "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", f"src/{module}", cwd=folder
    )
    return {name.removeprefix("src/") for name in listed.split("\0") if name and (folder / name).exists()}


def check_wheel(folder: Path, name: str, module: str) -> None:
    (path,) = DIST.glob(f"{module}-*.whl")
    with zipfile.ZipFile(path) as archive:
        files = {info.filename for info in archive.infolist()}
        (info,) = {file.partition("/")[0] for file in files if ".dist-info/" in file}
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    code = {file for file in files if not file.startswith(info)}
    expect(code == sources(folder, module), f"{path.name} differs from its sources", code ^ sources(folder, module))
    expect(f"{module}/py.typed" in code, f"{path.name} has no py.typed")
    expect(f"{info}/licenses/LICENSE" in files, f"{path.name} has no licence")
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    expect(metadata["Name"] == name and metadata["Version"] == project["version"], "wrong name or version", metadata)
    expect(metadata["License-Expression"] == "MIT", "wrong licence")
    systems = [line for line in metadata.get_all("Classifier", []) if line.startswith("Operating System")]
    expect(systems == ["Operating System :: POSIX"], f"{name} is for POSIX alone", systems)
    extras = set(metadata.get_all("Provides-Extra", []))
    expect(extras == set(project.get("optional-dependencies", {})), "extras are missing", extras)


def check_sdist(folder: Path, module: str) -> None:
    (path,) = DIST.glob(f"{module}-*.tar.gz")
    with tarfile.open(path) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {f"src/{name}" for name in sources(folder, module)}
    wanted |= {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"}
    surplus = files - wanted - {".gitignore"}
    expect(not wanted - files, f"{path.name} lacks files", wanted - files)
    expect(not surplus, f"{path.name} holds more than it should", surplus)


def check_install() -> None:
    """``pip install`` of the two folders works alone, as the README says."""
    with tempfile.TemporaryDirectory(prefix="loopkit-install-") as name:
        empty = Path(name) / "venv"
        venv.create(empty, with_pip=True)
        python = empty / "bin/python"
        folders = [ROOT / "packages/loopkit", ROOT / "packages/loopkit-cli"]
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *folders, cwd=Path(name))
        run(python, "-c", "import loopkit, loopkit_cli.main", cwd=Path(name))
        run(python, "-c", "import importlib.util as u; assert u.find_spec('loopkit_web') is None", cwd=Path(name))
        said = run(empty / "bin/loopkit-cli", "--help", cwd=Path(name))
        expect("worker" in said, "loopkit-cli --help does not name its commands", said)


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"{command} ended with {done.returncode}", done.stdout + done.stderr)
    return done.stdout


def expect(condition: bool, what: str, detail: object = "") -> None:
    if not condition:
        sys.exit(f"{what}: {detail}")


if __name__ == "__main__":
    main()
