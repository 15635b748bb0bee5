"""The data directory: the journal, the store, and how entries move from one to the other."""
