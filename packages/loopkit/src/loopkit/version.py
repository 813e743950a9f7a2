"""Version of the installed package."""

from functools import cache

__all__ = ["UNKNOWN", "installed_version"]

UNKNOWN = "0+unknown"
"""Version where there is no metadata to read: in a frozen program, or in sources on the path that nobody installed."""


@cache
def installed_version() -> str:
    """Return the version of the installed loopkit, which loopkit-web and loopkit-cli share, or ``UNKNOWN``."""
    from importlib.metadata import PackageNotFoundError, version  # its import costs more than that of loopkit

    try:
        return version("loopkit")
    except PackageNotFoundError:
        return UNKNOWN
