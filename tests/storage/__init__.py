"""Tests of the journal, the store and the data directory."""
