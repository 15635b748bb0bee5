"""Tests of geocli: real files, real processes, databases built by the tests."""
