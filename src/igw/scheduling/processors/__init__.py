"""One file per header processor: what finds out more of a request by its headers. They do not know each other."""
