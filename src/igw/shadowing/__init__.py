"""Shadow policies: what other configurations would have chosen for requests that were decided. Nothing is ever done by what they choose."""
