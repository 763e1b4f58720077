"""What a request, a pick and a body cost. Figures are CPU per request or ratios within one run, never wall time alone."""
