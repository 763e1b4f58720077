"""One file per reporter: what tells the client something with the answer. They do not know each other."""
