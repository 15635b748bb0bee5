"""The .mmdb files at hand, and getting them."""
