"""Real database servers, started and ended by the tests and the benchmarks that need them."""
