"""Where endpoints come from: files (and later a cluster) become one immutable snapshot of pools.

What endpoints report of themselves is not known here.
"""
