"""Policies that need no `EndpointPickerConfig`: baselines, rivals and clairvoyant bounds, one file each."""
