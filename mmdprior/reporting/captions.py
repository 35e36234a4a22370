"""What the pictures of a run show, in words."""

__all__ = ["alt_of", "caption_of"]

_CAPTIONS = {
    "marginals": (
        "Codes against the prior, dimension by dimension",
        "Filled: sampled codes of the test images. Line: the density of the intended prior. The number is "
        "the Kolmogorov-Smirnov distance between the two.",
    ),
    "quantiles": (
        "Quantiles of the codes against the prior's",
        "One line a dimension; on the diagonal where the codes follow the prior.",
    ),
    "pairs": (
        "The most dependent pairs beside draws from the prior",
        "Left of each pair the codes, right the prior: equal clouds where the prior is enforced.",
    ),
    "traversals": (
        "What each dimension does",
        "One image's code, one dimension at a time moved through the prior's quantiles; the dimensions that "
        "change the picture most come first.",
    ),
    "reconstructions": (
        "Reconstructions",
        "Test images, their reconstructions from mean codes, and the absolute error, white where it is 0.5.",
    ),
    "prior_samples": ("Decoded draws from the prior", "What the decoder makes of the intended prior."),
    "lps": (
        "Predictability, dimension by dimension",
        "R2 of each dimension from the others; the band is what shuffled codes give.",
    ),
    "correlation": ("Correlation of code dimensions", "Of sampled codes."),
    "dependence": (
        "Dependence of pairs",
        "Mutual information of sampled codes in nats; colours start to tell where chance ends.",
    ),
    "importance": (
        "Who predicts whom",
        "Fall of each dimension's R2 when another is permuted.",
    ),
    "traversals_moving": ("The traversals, moving", "All dimensions at once, each in its own tile."),
}


def caption_of(name: str) -> tuple[str, str, int]:
    """Return a picture's title, its explanation, and its place in the order of the page."""
    title, about = _CAPTIONS.get(name, (name.replace("_", " "), ""))
    return title, about, list(_CAPTIONS).index(name) if name in _CAPTIONS else len(_CAPTIONS)


def alt_of(name: str, label: str) -> str:
    """Return the words in place of a picture."""
    title, about, _ = caption_of(name)
    return f"{label}: {title}. {about}".strip()
