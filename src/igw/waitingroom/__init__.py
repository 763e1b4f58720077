"""Requests whose clients want to be told how long they wait: sent to the picker itself, told, and passed on."""
