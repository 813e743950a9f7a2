"""Database URLs as people may see them: no secret is left, whatever part of the URL it is in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from loopkit.stores.sql.databases.urls import hide_secrets
from loopkit.url_display import without_secrets

SECRET = "S3CRETxyz"

HIDING = [
    "postgresql://user:{}@host/name",
    "postgresql://user:a/{}@host/name",
    "postgresql://user:{}/a@host/name",
    "postgresql://user:a@{}@host/name",
    "postgresql://user:a?{}@host/name",
    "postgresql://user:a#{}@host/name",
    "postgresql://user:12?{}@host/name",
    "postgresql://:{}@host/name",
    "postgresql://host/name?password={}",
    "postgresql:///name?host=/run&passfile={}",
    "postgresql://host/name?sslpassword={}",
    "postgresql://host/name?options=-c%20x={}",
    "postgresql://host/name?{}",
    "postgresql://host/name?sslmode=require#{}",
    "sqlite:///one.db?authToken={}",
    "sqlite:///one.db?password={}",
    "libsql://host?auth_token={}&secure=true",
    "libsql://{}@host",
    "https://{}@host/",
    "https://{}:x@host/",
    "https://host/?jwt={}",
    "user:{}@host",
]


@pytest.mark.parametrize("form", HIDING)
def test_a_secret_is_never_shown(form: str) -> None:
    """Password, token, parameter, fragment: none of it is left."""
    assert SECRET not in without_secrets(form.format(SECRET))


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("postgresql://user:hush@host:5432/name", "postgresql://user:***@host:5432/name"),
        ("sqlite:///one.db?authToken=x&mode=ro", "sqlite:///one.db?authToken=***&mode=ro"),
        *((same, same) for same in ("sqlite:///loopkit.db", "sqlite:////srv/a@b.db", "libsql://host", "")),
        *((same, same) for same in ("postgresql://user@host/name", "postgresql://h:1/n?application_name=a@b")),
        ("postgresql://u@h/n?sslmode=require", "postgresql://u@h/n?sslmode=require"),
    ],
)
def test_what_is_no_secret_is_shown(url: str, seen: str) -> None:
    """One sees which database it is."""
    assert without_secrets(url) == seen


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12))
def test_no_password_shows_however_it_is_written(rest: str) -> None:
    """Any characters may stand before and after the part that must not be seen."""
    assert SECRET not in without_secrets(f"postgresql://user:{rest}{SECRET}@host/name")
    assert SECRET not in without_secrets(f"postgresql://user:{SECRET}{rest}@host/name")


def test_an_opened_database_is_shown_in_the_same_way() -> None:
    """Its name in errors comes from the same function."""
    assert hide_secrets(make_url(f"postgresql://u:p%40{SECRET}@h/n?password={SECRET}")) == (
        "postgresql://u:***@h/n?password=***"
    )
