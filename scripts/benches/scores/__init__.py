"""Parts of `bench.py lps`: codes of known dependence, and what the score makes of them."""
