"""Why a request went where it went: decisions that are kept for a while, told so that a person understands. Nothing here decides."""
