"""The lab: a workload against a policy on simulated servers in virtual time, and what became of every request.

It runs the product's own routing, scheduling, prefix index and ledger. It decides nothing itself.
"""
