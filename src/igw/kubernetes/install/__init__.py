"""What `charts/igw` makes of its default values, one file per mode, rendered by Helm: for those who install without it."""
