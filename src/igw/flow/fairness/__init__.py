"""Who is next within a priority: one file per policy. The order within one flow is `ordering`."""
