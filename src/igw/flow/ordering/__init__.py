"""Which request of a flow is next: one file per policy. Which flow is next is `fairness`."""
