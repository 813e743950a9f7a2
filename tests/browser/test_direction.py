"""Tests of text that is written from right to left: what stands around a value stays where it is."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

from anyio.from_thread import start_blocking_portal
from starlette.requests import Request

from loopkit import Agent
from loopkit_web import Access, Permission, allow_all, create_app
from tests.browser.conftest import Opener
from tests.browser.seed_helpers import World

VALUES = {
    "letters": "⟦\u05d0\u05d1 {} \u05d2 12⟧",
    "override": "⟦\u202e{} 12⟧",
    "closers": "⟦\u2069\u202c\u202e{}⟧",
    "isolate": "⟦\u2067{} \u05d0 1⟧",
}
"""Values in brackets, by what is odd in them; each has a place for a name."""

REORDERED = """
() => {
  // Characters of each block by line. Those outside of brackets belong to the page: they stand from left to right, and
  // what is between brackets stands between them.
  const blocks = new Map();
  const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  const isInline = (element) => ['inline', 'contents'].includes(getComputedStyle(element).display);
  for (let node; (node = nodes.nextNode());) {
    if (!node.data.trim() || !node.parentElement.checkVisibility()) continue;
    if (node.parentElement.closest('.vh, option, textarea, script, .prose, pre, .lt')) continue;
    let block = node.parentElement;
    while (isInline(block)) block = block.parentElement;
    if (!blocks.has(block)) blocks.set(block, []);
    let depth = 0;
    for (let i = 0; i < node.data.length; i++) {
      const character = node.data[i];
      if (character === '⟦') depth += 1;
      range.setStart(node, i);
      range.setEnd(node, i + 1);
      const box = range.getBoundingClientRect();
      if (character.trim() && box.width)
        blocks.get(block).push({ isOwn: depth === 0, left: box.left, right: box.right, y: (box.top + box.bottom) / 2 });
      if (character === '⟧') depth -= 1;
    }
  }
  const faults = new Set();
  for (const [block, characters] of blocks) {
    const lines = [];
    for (const character of characters) {
      let line = lines.find((other) => Math.abs(other.y - character.y) < 6);
      if (!line) lines.push((line = { y: character.y, parts: [] }));
      const last = line.parts.at(-1);
      if (last?.isOwn && character.isOwn && character.left < last.right - 1) faults.add(block.textContent);
      if (last?.isOwn === character.isOwn) {
        last.left = Math.min(last.left, character.left);
        last.right = Math.max(last.right, character.right);
      } else line.parts.push({ ...character });
    }
    for (const { parts } of lines)
      for (let i = 1; i < parts.length; i++)
        if (parts[i].left < parts[i - 1].right - 1) faults.add(block.textContent);
  }
  return [...faults].map((text) => text.replace(/\\s+/g, ' ').trim());
}
"""


def value(kind: str, name: str) -> str:
    return VALUES[kind].format(name)


async def fill(world: World) -> list[str]:
    """Store a run for each kind of value, with such values as all of its texts, and return their ids."""
    ids = []
    for number, kind in enumerate(VALUES):
        world.clock.set_back(timedelta(minutes=30 - number))
        odd = partial(value, kind)
        stored = await world.submit(
            odd("agent"),
            {odd("name"): odd("text"), "many": {odd("key"): odd("text"), "n": 1}},
            cycle_id=odd("cycle"),
            title=odd("title") if number % 2 else None,
            tags=(odd("tag"), "usual"),
            actor=odd("actor"),
        )
        held = await world.claim(stored, odd("host") + ":7")
        await world.log(held, odd("log"), **{odd("key"): odd("text"), "n": 3})
        for score in (0.5, 0.3):
            await world.produce(held, f'{{"{odd("key")}": "{odd("text")}", "score": {score}}}', 5, is_json=True)
            criteria = {odd("criterion"): {"score": score, "feedback": odd("note"), "pass_mark": 0.6}}
            await world.evaluate(held, score, odd("feedback"), 3, criteria=criteria)
        if number % 2:
            place = {"exception": odd("exception"), "at": odd("place"), "traceback": odd("line")}
            await world.fail(held, odd("error"), place)
        ids.append(stored.id)
    world.clock.at = datetime.now(UTC)
    return ids


async def as_odd_actor(_: Request) -> Access:
    return Access(value("override", "actor"), frozenset(Permission))


def paths(ids: list[str]) -> Iterator[str]:
    """Yield pages on which such values stand beside words of the page."""
    tag = quote(value("closers", "tag"))
    yield from ("/agents", f"/agents?tag={tag}", "/runners", f"/agents/start?from={ids[0]}")
    for id in ids:
        yield from (f"/agents/{id}", f"/agents/{id}?tab=raw")
    yield f"/agents/{ids[1]}?tab=artifacts"
    yield f"/agents/{ids[1]}?tab=evaluation"
    yield f"/agents/{ids[2]}?tab=inputs"
    yield f"/agents/{ids[2]}/compare"
    yield from (f"/compare?runs={ids[1]},{other}" for other in (ids[2], ids[3]))


def test_what_stands_around_a_value_stays_in_place(opened: Opener, served: Callable[[Any], str]) -> None:
    """No value turns or moves the words around it: letters written from right to left, overrides that do not end,
    marks that end what the page has begun. Chromium places every character to tell."""
    world = World()
    with start_blocking_portal() as portal:
        ids = portal.call(fill, world)
    agent = Agent(name=value("letters", "agent"), description="⟦\u05d1 2⟧", produce=str, evaluate=lambda _: 1.0)
    url = served(create_app(world.store, [agent], access=as_odd_actor))
    page = opened()
    faults = []
    for path in paths(ids):
        page.goto(url + path)
        faults += [f"{path}: {text}" for text in page.evaluate(REORDERED) if "claimedBy" not in text]
    assert faults == []


def test_output_is_read_in_its_own_direction(opened: Opener, served: Callable[[Any], str]) -> None:
    """Each paragraph of a Hebrew output begins at the right, also when it ends with a number or a full stop."""
    world = World()
    hebrew = "\u05d0\u05d1\u05d2 12."
    with start_blocking_portal() as portal:
        run = portal.call(world.scored_run, "release_notes", f"{hebrew}\n\n- {hebrew}\n\nEnglish", [0.9], timedelta(0))
    world.clock.at = datetime.now(UTC)
    page = opened()
    page.goto(f"{served(create_app(world.store, [], access=allow_all))}/agents/{run.id}")
    starts = page.evaluate(
        """() => [...document.querySelectorAll('#output .prose :is(h3, p, li)')].map((block) => {
             const range = document.createRange();
             range.selectNodeContents(block);
             const [text, box] = [range.getBoundingClientRect(), block.getBoundingClientRect()];
             return Math.abs(text.right - box.right) < 2 ? 'right' : Math.abs(text.left - box.left) < 2 ? 'left' : '';
           })"""
    )
    assert starts == ["right", "right", "left", "left"]
