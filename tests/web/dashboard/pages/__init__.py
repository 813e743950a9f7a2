"""Tests of the pages over HTTP, as a browser without scripts loads them."""
