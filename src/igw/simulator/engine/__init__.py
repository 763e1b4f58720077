"""One engine, step by step, like vLLM's V1 scheduler: pure, without a clock, so it runs in real or virtual time."""
