"""One token for all: as a bearer, and typed once into a plain form."""

import pytest

from loopkit_web import TokenAccess
from tests.web.apps import client, make_app

HTML = {"Accept": "text/html"}
PAGE = "/api/agents-config"


async def test_the_token_opens_as_a_bearer() -> None:
    """The right token in the Authorization header, in any case of the scheme, is enough for everything."""
    async with client(make_app(access=TokenAccess("s3cret"))) as http:
        for scheme in ("Bearer", "bearer"):
            answer = await http.get("/api/workflows", headers={"Authorization": f"{scheme} s3cret"})
            assert answer.status_code == 200
        body = {"agentName": "namer", "inputs": {"thing": "x"}}
        answer = await http.post("/api/workflows", json=body, headers={"Authorization": "Bearer s3cret"})
        assert answer.status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Authorization": "Bearer"}, {"Authorization": "Bearer s3cre"}, {"Authorization": "Bearer s3cret2"},
        {"Authorization": "Basic s3cret"}, {"Authorization": "s3cret"},
        {"Authorization": "Bearer \xe4".encode("latin-1")},
        {"Cookie": "loopkit=s3cret"},
    ],
)  # fmt: skip
async def test_anything_else_does_not(headers: dict[str, str | bytes]) -> None:
    """A part of the token, more than it, or another scheme is 401."""
    async with client(make_app(access=TokenAccess("s3cret"))) as http:
        assert (await http.get("/api/workflows", headers=headers)).status_code == 401


async def test_a_browser_signs_in_once_by_a_plain_form() -> None:
    """The 401 page holds the form; the right token sets a strict cookie and leads to the page that was asked for."""
    async with client(make_app(access=TokenAccess("s3cret")), root_path="/loop") as http:
        page = await http.get("/loop/agents/run_1?tab=<x>", headers=HTML)
        assert page.status_code == 401
        assert 'action="/loop/sign-in"' in page.text
        assert "<x>" not in page.text
        answer = await http.post("/loop/sign-in", data={"token": "s3cret", "next": "/agents/run_1?tab=1"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/loop/agents/run_1?tab=1")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Path=/loop;" in cookie
        assert "s3cret" not in cookie
        assert answer.headers["cache-control"] == "no-store"
        http.cookies.update(answer.cookies)
        assert (await http.get("/loop" + PAGE)).status_code == 200
        out = await http.post("/loop/sign-out", data={})
        assert out.status_code == 303
        assert "Max-Age=0" in out.headers["set-cookie"]


async def test_the_cookie_is_for_https_alone_where_there_is_https() -> None:
    """Over HTTPS the cookie never goes over plain HTTP."""
    app = make_app(access=TokenAccess("s3cret"))
    async with client(app) as http:
        answer = await http.post("https://localhost/sign-in", data={"token": "s3cret"})
        assert "Secure" in answer.headers["set-cookie"]


async def test_a_wrong_token_asks_again_and_signs_nobody_in() -> None:
    """The page stays, with the way to go on kept; no cookie is set."""
    async with client(make_app(access=TokenAccess("s3cret"))) as http:
        answer = await http.post("/sign-in", data={"token": "guess", "next": "/agents/a"}, headers=HTML)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert 'value="/agents/a"' in answer.text
        assert "guess" not in answer.text


@pytest.mark.parametrize(
    "following", ["//evil.example", "https://evil.example", "/\\evil.example", "", "a", "/\n/evil"]
)
async def test_signing_in_leads_nowhere_else(following: str) -> None:
    """What is no path of this app leads to its beginning."""
    async with client(make_app(access=TokenAccess("s3cret"))) as http:
        answer = await http.post("/sign-in", data={"token": "s3cret", "next": following})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_another_token_signs_everybody_out() -> None:
    """A cookie of one token opens nothing of another's, and two servers of one host use different cookies."""
    old, new = TokenAccess("old"), TokenAccess("new")
    async with client(make_app(access=old)) as http:
        cookies = (await http.post("/sign-in", data={"token": "old"})).cookies
    async with client(make_app(access=new), cookies=cookies) as http:
        assert (await http.get("/api/workflows")).status_code == 401
        other = (await http.post("/sign-in", data={"token": "new"})).cookies
    assert set(cookies).isdisjoint(other)


@pytest.mark.parametrize("token", ["", "a b", "ä", "a\n"])
def test_a_token_that_cannot_stand_in_a_header_is_refused(token: str) -> None:
    """It would open to nobody, or to everybody."""
    with pytest.raises(ValueError, match="printable ASCII"):
        TokenAccess(token)
