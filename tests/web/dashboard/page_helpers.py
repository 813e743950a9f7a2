"""Reader of pages: their text, their URLs, and their forms, which can be submitted."""

from html.parser import HTMLParser
from typing import Any

import httpx


class PageReader(HTMLParser):
    """Contents of one page, as a browser without scripts sees them."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.forms: list[dict[str, Any]] = []
        self._in_button = False
        self.feed(response.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.links += [attributes[name] for name in ("href", "src", "action", "formaction") if name in attributes]
        if tag == "form":
            self.forms.append({"action": attributes.get("action", ""), "fields": {}, "buttons": []})
        elif self.forms and tag == "input" and attributes.get("type") not in ("checkbox", "radio"):
            self.forms[-1]["fields"][attributes.get("name", "")] = attributes.get("value", "")
        self._in_button = self._in_button or tag == "button"

    def handle_endtag(self, tag: str) -> None:
        self._in_button = self._in_button and tag != "button"

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_button and data.strip() and self.forms:
            self.forms[-1]["buttons"].append(data.strip())
            self._in_button = False

    def form(self, button: str) -> dict[str, Any]:
        """Return the form that has a button whose label begins with this text."""
        return next(form for form in self.forms if any(label.startswith(button) for label in form["buttons"]))


async def submit(http: httpx.AsyncClient, form: dict[str, Any], **fields: str) -> httpx.Response:
    """Submit a form, with these fields changed or added."""
    return await http.post(form["action"], data={**form["fields"], **fields})
