"""What a server tells of its KV cache: block hashes, messages as vLLM and SGLang encode them, the ZMQ sockets."""
