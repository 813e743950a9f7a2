"""Model of two runners and one run with a policy, small enough for budgets, ledgers, verdicts and endings.

Fences, late calls and writes of other programs are in the model around it. Here every claim has its own token, the
number of faults is bounded, and each configuration in ``protocol`` has the part of a policy that it is about.
"""
