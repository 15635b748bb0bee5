"""A batch on many machines, by Dask."""
