"""Configs that earlier releases stored, in the form of this release."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["in_present_form"]

_AUXILIARY = {"auxiliary_learning_rate": 1e-3, "auxiliary_betas": [0.5, 0.9]}
"""Earlier defaults of the trainer. Now None, which means the same for the penalties of these releases."""

_OTHER_AUXILIARY = {"factor", "nash", "wae_gan"}
"""Later penalties, for which None means other values."""


def in_present_form(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored config in which settings with the same meaning have the same value as now.

    Args:
        config: resolved config, nested.

    Example:
        >>> from mmdprior.config.earlier import in_present_form
        >>> in_present_form({"trainer": {"auxiliary_learning_rate": 0.001}})
        {'trainer': {'auxiliary_learning_rate': None}}
    """
    present = dict(config)
    if isinstance(config.get("evaluation"), Mapping):
        present["evaluation"] = {"disentanglement": False, **config["evaluation"]}
    trainer = config.get("trainer")
    if isinstance(trainer, Mapping) and trainer.get("channels_last") is False:
        # Earlier default. The layout changes results by rounding only.
        trainer = present["trainer"] = {**trainer, "channels_last": "auto"}
    if isinstance(trainer, Mapping) and _OTHER_AUXILIARY.isdisjoint(_names(config.get("regularizer"))):
        changed = {k: None for k, v in _AUXILIARY.items() if k in trainer and trainer[k] == v}
        present["trainer"] = {**trainer, **changed}
    return present


def _names(value: Any) -> Iterator[str]:
    """Yield every ``name`` in a part of a config."""
    if isinstance(value, Mapping):
        yield str(value.get("name"))
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for child in children:
        yield from _names(child)
