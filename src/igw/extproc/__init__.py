"""The Envoy wire: a pure session per exchange, a mapping between protobuf and values, a server. No decisions."""
