"""Short form of ``python -m benchmarks.page_bounds``: pages of generated rows are all shown, within their bytes."""

from pathlib import Path

import pytest

from benchmarks import page_bounds
from benchmarks.page_bounds import Measurement


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_every_page_of_generated_rows_is_shown_within_its_bytes(tmp_path: Path, anyio_backend: str) -> None:
    """Whatever rows hold, no page is larger than 1 MB, and none is refused for being too large or too slow.

    The time of the event loop and the memory are measured by the benchmark only: a test may not depend on the machine.
    """
    costs: list[tuple[Measurement, str]] = []
    await page_bounds.measure(str(tmp_path), 15, 1, lambda cost, shape: costs.append((cost, shape)))
    assert len(costs) >= 15
    for cost, shape in costs:
        assert cost.status == 200, f"{cost.page} of {shape}"
        assert cost.size <= page_bounds.MAX_BYTES or cost.page.startswith("/api/"), f"{cost.page} of {shape}"
