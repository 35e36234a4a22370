"""Parts of the benchmark of mixtures of experts."""
