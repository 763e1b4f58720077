"""igw: an inference gateway. Envoy in front, an endpoint picker that decides, learns and explains."""
