"""How long a step takes and how much KV memory there is, per model and accelerator: measured data and arithmetic on it."""
