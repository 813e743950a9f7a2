"""Each async test of the runner runs on both backends of anyio and in every other kind of host."""

from inspect import iscoroutinefunction
from typing import Any

import pytest

from tests.host_helpers import Host, run_in


@pytest.fixture(params=["asyncio", "trio", *Host])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """A backend of anyio's own test runner, or a host that starts its event loop by itself."""
    return request.param


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the test in the host that it is meant for; leave the others to anyio's plugin."""
    host = pyfuncitem.funcargs.get("anyio_backend")
    if not isinstance(host, Host) or not iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    run_in(host, lambda: pyfuncitem.obj(**arguments))
    return True
