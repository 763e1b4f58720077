"""The endpoint picker as a whole, of all rooms below. Deciding, learning and the wire are theirs."""
