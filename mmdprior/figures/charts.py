"""The layout of TensorBoard's "Custom scalars" page, shared by training runs and comparisons."""

__all__ = ["CHARTS", "SUMMARY"]

SUMMARY = {
    "loss/total": "0_summary/1_loss",
    "reconstruction/psnr": "0_summary/2_psnr_db",
    "reconstruction/r2": "0_summary/2_r2",
    "lps/linear": "0_summary/3_lps_linear",
    "match/mmd_standardised": "0_summary/4_match_to_prior_null_sd",
}
"""Copies of the main scalars, whose tags TensorBoard sorts before all others, by tag."""

CHARTS: dict[str, dict[str, list[object]]] = {
    "1. Is the prior matched, and at what cost in reconstruction?": {
        "MMD to the intended prior (null standard deviations)": ["Multiline", ["match/mmd_standardised"]],
        "PSNR of validation images (dB)": ["Multiline", ["reconstruction/psnr"]],
        "R2 of validation vectors or signals": ["Multiline", ["reconstruction/r2"]],
        "reconstruction loss of the batch": ["Multiline", ["loss/reconstruction"]],
        "weighted penalty (in the unit of the loss)": ["Multiline", ["penalty/weighted$"]],
    },
    "2. Are the code dimensions independent?": {
        "LPS of mean codes": ["Multiline", ["lps/[a-z]+$"]],
        "LPS of sampled codes": ["Multiline", ["lps/[a-z]+_sample$"]],
        "R2 of the most predictable dimension": ["Multiline", ["lps/[a-z]+_max$"]],
        "total correlation of rank-Gaussianised codes (nats)": [
            "Multiline",
            ["independence/total_correlation_ranks$"],
        ],
        "active dimensions": ["Multiline", ["latents/active"]],
        "effective rank of mean codes": ["Multiline", ["independence/effective_rank$"]],
    },
    "3. Optimisation": {
        "total loss": ["Multiline", ["loss/total"]],
        "learning rate": ["Multiline", ["trainer/learning_rate"]],
        "steps per second": ["Multiline", ["trainer/steps_per_second"]],
    },
}
"""Charts by category, each with regular expressions of the tags to overlay.

Tags do not depend on the penalty, so KL and MMD runs share every chart.
"""
