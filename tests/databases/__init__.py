"""Tests of finding, downloading, installing and verifying databases."""
