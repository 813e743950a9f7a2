"""Values of options as they are shown again, in suggested commands and errors."""

from loopkit.url_display import without_secrets

__all__ = ["without_password"]


def without_password(url: str) -> str:
    """Return a database URL without its password, tokens and other secrets, for display."""
    return without_secrets(url)
