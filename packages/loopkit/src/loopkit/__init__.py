"""loopkit runs produce, evaluate, revise loops of agents durably."""
