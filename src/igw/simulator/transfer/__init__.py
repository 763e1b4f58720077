"""Prefill on one server and decode on another: what is asked, what is held for whom, how long it takes to move."""
