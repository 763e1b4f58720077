"""What a simulated server says over gRPC, beside HTTP and with the same engines: vLLM's `VllmEngine`."""


class GrpcAddressError(OSError):
    """An address and port that gRPC cannot listen on."""
