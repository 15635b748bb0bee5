"""Tests of a batch on several machines."""
