"""Tests of reading input and writing rows."""
