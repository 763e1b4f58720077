"""How full the pool may get for which priority: one file per policy. How full it is, is measured elsewhere."""
