"""Find, open, download and verify .mmdb files."""
