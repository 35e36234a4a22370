"""The layout of TensorBoard's custom scalars: runs of every penalty on shared charts."""

__all__ = ["CHARTS"]

CHARTS: dict[str, dict[str, list[object]]] = {
    "1. Was the prior enforced, and at what cost?": {
        "MMD to the intended prior, null standard deviations": ["Multiline", ["match/mmd_standardised"]],
        "reconstruction, PSNR (dB)": ["Multiline", ["reconstruction/psnr"]],
        "reconstruction loss of the batch": ["Multiline", ["loss/reconstruction"]],
        "penalty, weighted": ["Multiline", ["penalty/weighted$"]],
    },
    "2. Are the codes independent?": {
        "LPS of mean codes": ["Multiline", ["lps/[a-z]+$"]],
        "LPS of sampled codes": ["Multiline", ["lps/[a-z]+_sample$"]],
        "most predictable dimension": ["Multiline", ["lps/[a-z]+_max$"]],
        "total correlation of ranks (nats)": ["Multiline", ["independence/total_correlation_ranks$"]],
        "active dimensions": ["Multiline", ["latents/active"]],
        "effective rank": ["Multiline", ["independence/effective_rank$"]],
    },
    "3. Optimisation": {
        "loss": ["Multiline", ["loss/total"]],
        "learning rate": ["Multiline", ["trainer/learning_rate"]],
        "steps a second": ["Multiline", ["trainer/steps_per_second"]],
    },
}
"""Charts by category; the tags are those of every run, whatever its penalty."""
