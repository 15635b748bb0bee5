"""Tests with crashes, failing system calls, power cuts, full disks and damaged files."""
