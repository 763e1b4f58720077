"""A request -> a decision: candidates, facts, pick, reservation. Waiting for capacity will be `flow`; scoring is `scheduling`."""
