"""Writes every page of the reference that is made from the sources. `make docs` calls it; tests compare the pages."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":
    for tool in sorted(Path(__file__).parent.glob("*_reference.py")):
        runpy.run_path(str(tool), run_name="__main__")
        print(f"{tool.stem.removesuffix('_reference')}: done")
