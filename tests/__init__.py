"""Tests of loopkit, mirroring the sources by folder; ``servers`` and ``tools`` help them."""
