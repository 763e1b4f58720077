"""One file per data producer. They do not know each other; what runs them is `routing`."""
