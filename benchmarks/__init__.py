"""What a durable loop costs: loopkit beside the limit of the disk and beside other systems, as ratios of one run."""
