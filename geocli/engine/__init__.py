"""The engine of large batches: addresses to numbers of answers to rows."""
