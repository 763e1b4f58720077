"""Reading requests and answers of inference APIs: bytes in, values out. No routing, no I/O."""
