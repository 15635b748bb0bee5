"""Tests of many addresses at once."""
