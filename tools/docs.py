"""Generator of all reference pages that come from the sources. `make docs` calls it; tests compare the pages."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    for tool in sorted(Path(__file__).parent.glob("*_reference.py")):
        runpy.run_path(str(tool), run_name="__main__")
        print(f"{tool.stem.removesuffix('_reference')}: done")
