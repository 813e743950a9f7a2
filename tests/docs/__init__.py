"""Tests of the pages: links, code blocks, the generated reference, and the files that pages name."""
