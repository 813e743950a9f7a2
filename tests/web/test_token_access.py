"""Access by one shared token: as a bearer token, and by the sign-in form."""

import pytest

from loopkit_web import TokenAccess
from tests.web.app_helpers import client, make_app

HTML = {"Accept": "text/html"}
PAGE = "/api/agents-config"


async def test_the_bearer_token_grants_everything() -> None:
    """The token in the Authorization header, with the scheme in any case, allows reads and changes."""
    async with client(make_app(access=TokenAccess("s3cret"))) as http:
        for scheme in ("Bearer", "bearer"):
            response = await http.get("/api/workflows", headers={"Authorization": f"{scheme} s3cret"})
            assert response.status_code == 200
        body = {"agentName": "namer", "inputs": {"thing": "x"}}
        response = await http.post("/api/workflows", json=body, headers={"Authorization": "Bearer s3cret"})
        assert response.status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {}, {b"Authorization": b"Bearer"}, {b"Authorization": b"Bearer s3cre"}, {b"Authorization": b"Bearer s3cret2"},
        {b"Authorization": b"Basic s3cret"}, {b"Authorization": b"s3cret"},
        {b"Authorization": b"Bearer \xe4"},
        {b"Cookie": b"loopkit=s3cret"},
    ],
)  # fmt: skip
async def test_any_other_token_is_401(headers: dict[bytes, bytes]) -> None:
    """A part of the token, a longer one, or another scheme is not accepted."""
    async with client(make_app(access=TokenAccess("s3cret"))) as http:
        assert (await http.get("/api/workflows", headers=headers)).status_code == 401


async def test_a_browser_signs_in_with_a_form() -> None:
    """The 401 page has the form; the token sets a strict cookie and leads to the requested page."""
    async with client(make_app(access=TokenAccess("s3cret")), root_path="/loop") as http:
        page = await http.get("/loop/agents/run_1?tab=<x>", headers=HTML)
        assert page.status_code == 401
        assert 'action="/loop/sign-in"' in page.text
        assert "<x>" not in page.text
        response = await http.post("/loop/sign-in", data={"token": "s3cret", "next": "/agents/run_1?tab=1"})
        assert (response.status_code, response.headers["location"]) == (303, "/loop/agents/run_1?tab=1")
        cookie = response.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Path=/loop;" in cookie
        assert "s3cret" not in cookie
        assert response.headers["cache-control"] == "no-store"
        http.cookies.update(response.cookies)
        assert (await http.get("/loop" + PAGE)).status_code == 200
        out = await http.post("/loop/sign-out", data={})
        assert out.status_code == 303
        assert "Max-Age=0" in out.headers["set-cookie"]


async def test_the_cookie_is_secure_over_https() -> None:
    """A cookie that was set over HTTPS is never sent over HTTP."""
    app = make_app(access=TokenAccess("s3cret"))
    async with client(app) as http:
        response = await http.post("https://localhost/sign-in", data={"token": "s3cret"})
        assert "Secure" in response.headers["set-cookie"]


async def test_a_wrong_token_shows_the_form_again() -> None:
    """The form still has the page to open afterwards; no cookie is set."""
    async with client(make_app(access=TokenAccess("s3cret"))) as http:
        response = await http.post("/sign-in", data={"token": "guess", "next": "/agents/a"}, headers=HTML)
        assert response.status_code == 401
        assert "set-cookie" not in response.headers
        assert 'value="/agents/a"' in response.text
        assert "guess" not in response.text


@pytest.mark.parametrize(
    "following", ["//evil.example", "https://evil.example", "/\\evil.example", "", "a", "/\n/evil"]
)
async def test_signing_in_leads_only_to_pages_of_this_app(following: str) -> None:
    """Anything that is not a path of this app leads to its front page."""
    async with client(make_app(access=TokenAccess("s3cret"))) as http:
        response = await http.post("/sign-in", data={"token": "s3cret", "next": following})
        assert (response.status_code, response.headers["location"]) == (303, "/")


async def test_a_new_token_signs_everybody_out() -> None:
    """A cookie from one token is not valid for another, and two servers on one host use different cookies."""
    old, new = TokenAccess("old"), TokenAccess("new")
    async with client(make_app(access=old)) as http:
        cookies = (await http.post("/sign-in", data={"token": "old"})).cookies
    async with client(make_app(access=new), cookies=cookies) as http:
        assert (await http.get("/api/workflows")).status_code == 401
        other = (await http.post("/sign-in", data={"token": "new"})).cookies
    assert set(cookies).isdisjoint(other)


@pytest.mark.parametrize("token", ["", "a b", "ä", "a\n"])
def test_a_token_that_a_header_cannot_carry_is_refused(token: str) -> None:
    """Such a token could never be sent, or would be empty."""
    with pytest.raises(ValueError, match="printable ASCII"):
        TokenAccess(token)
