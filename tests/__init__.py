"""Tests of geocli: real files, real processes, databases that are built here."""
