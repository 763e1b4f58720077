"""One file per scorer. They do not know each other."""
