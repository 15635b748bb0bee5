"""Files that are safe to open, to lock and to replace."""
