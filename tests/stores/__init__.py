"""Tests of every store: the suite, stores broken on purpose, and databases in lockstep with the store in memory."""
