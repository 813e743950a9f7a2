"""Tests that the benchmarks run, and that a loop sends no more statements than before."""
