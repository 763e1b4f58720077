"""The command line: one module per command, thin over the rooms. No decisions are made here."""
