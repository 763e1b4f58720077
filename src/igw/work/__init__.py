"""What requests cost in seconds: a model learned from finished ones, what is promised to each endpoint, and the price of one more.

Pure. Which endpoint to take for it is `scheduling`; who tells of dispatches and ends is `routing` and `outcomes`.
"""
