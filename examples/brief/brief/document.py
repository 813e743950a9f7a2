"""A document as its sentences: Markdown or plain text read, with code, tables and markup left out."""

import re
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

FEWEST_WORDS = 5
"""Shorter pieces are labels and fragments, which say nothing on their own."""

LARGEST_SHARE = 0.35
"""Share of a brief that a single sentence may take."""

_MARKDOWN = MarkdownIt("commonmark").enable("table").disable("code")  # indented text is text here, not code
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_SENTENCE_END = re.compile(r"""(?<=[.!?…])["'”’)\]]*\s+(?=["'“‘(\[`]*[^\W_a-z])|(?<=[。！？])\s*""")
_POINTING = re.compile(
    r"(?:this|that|these|those|it|its|they|he|she|such|both|either|and|but|or|so|then|thus|here|there|also|however|"
    r"hence|instead|otherwise|therefore|by contrast|for example|in addition)\b",
    re.IGNORECASE,
)
"""How sentences begin that say little without the one before."""
_NO_END = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|cf|vs|approx|no|fig|sec|mr|mrs|ms|dr|st|prof)|\b[^\W\d_])\.$", re.IGNORECASE
)


@dataclass(frozen=True)
class Sentence:
    """One sentence and where it stands."""

    text: str
    section: int
    """0 before the first heading, then one more with each heading."""
    place: tuple[int, int]
    """Which sentence of its section it is, and then which section: in this order a document is skimmed."""
    words: int


@dataclass(frozen=True)
class Document:
    """What of a document can be quoted, in its order."""

    sentences: tuple[Sentence, ...]
    headings: tuple[str, ...]

    def quotable(self, limit: int) -> tuple[Sentence, ...]:
        """Return the sentences that read well alone in a brief of ``limit`` words; all, if these would not fill it."""
        longest = limit * LARGEST_SHARE
        fit = tuple(s for s in self.sentences if s.words <= longest and not _POINTING.match(s.text))
        return fit if sum(s.words for s in fit) >= 2 * limit else self.sentences

    def only(self, chosen: Set[Sentence]) -> tuple[Sentence, ...]:
        """Return the chosen sentences in the document's order."""
        return tuple(sorted(chosen, key=self._order.__getitem__))

    @cached_property
    def _order(self) -> dict[Sentence, int]:
        return {sentence: number for number, sentence in enumerate(self.sentences)}


def count_words(text: str) -> int:
    """Count words as an editor does: what stands between white space."""
    return len(text.split())


def read(source: str) -> Document:
    """Read a document; where nothing is long enough for a sentence, short pieces are taken too."""
    headings: list[str] = []
    pieces: list[tuple[str, int]] = []
    for kind, text in _blocks(_FRONT_MATTER.sub("", source.replace("\r\n", "\n"))):
        if kind == "heading":
            headings.append(text)
        else:
            pieces += [(piece, len(headings)) for piece in _split(text)]
    whole = [piece for piece in pieces if count_words(piece[0]) >= FEWEST_WORDS and not piece[0].endswith(":")]
    return Document(tuple(_placed(dict(reversed(whole or pieces)))), tuple(headings))


def _placed(pieces: dict[str, int]) -> Iterator[Sentence]:
    """Return each text once, where it stands first."""
    seen: Counter[int] = Counter()
    for text, section in reversed(pieces.items()):
        yield Sentence(text, section, (seen[section], section), count_words(text))
        seen[section] += 1


def _blocks(source: str) -> Iterator[tuple[str, str]]:
    """Return headings and paragraphs as text; list items are paragraphs, table cells and code are left out."""
    tokens = _MARKDOWN.parse(source)
    for before, token in pairwise(tokens):
        if token.type != "inline" or before.type not in ("heading_open", "paragraph_open"):
            continue
        if text := " ".join("".join(_text(token)).split()):
            yield before.type.removesuffix("_open"), text


def _text(inline: Token) -> Iterator[str]:
    for child in inline.children or ():
        if child.type == "code_inline":
            yield f"`{child.content}`"
        elif child.type in ("softbreak", "hardbreak"):
            yield " "
        elif child.type == "text":
            yield child.content


def _split(paragraph: str) -> list[str]:
    sentences: list[str] = []
    for piece in (piece.strip() for piece in _SENTENCE_END.split(paragraph)):
        if sentences and _NO_END.search(sentences[-1]):
            sentences[-1] += f" {piece}"
        elif piece:
            sentences.append(piece)
    return sentences
