"""Benchmarks of a durable loop: loopkit beside the limit of the disk and beside other systems, as ratios of one run."""
