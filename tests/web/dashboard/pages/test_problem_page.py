"""Tests of error pages."""

from tests.web.app_helpers import client, make_app
from tests.web.dashboard.page_helpers import PageReader


async def test_browser_gets_a_problem_as_a_page() -> None:
    """The page says what is wrong, shows the request id, and has a link back."""
    async with client(make_app()) as http:
        response = await http.get("/agents/run_nope", headers={"accept": "text/html"})
        page = PageReader(response)
        assert response.status_code == 404
        assert "No such run" in page.text
        assert response.headers["x-request-id"] in page.text
        assert "/agents" in page.links
