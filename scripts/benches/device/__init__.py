"""Parts of `bench.py gpu`: tests, times and training on one device."""
