"""Short unique names for paths, as tables and figures show them."""

import re

__all__ = ["plain_name", "short_names"]


def plain_name(text: str) -> str:
    """Return text as the name of a file or folder: letters, digits, ``.``, ``-`` and ``_`` only.

    Example:
        >>> from mmdprior.naming import plain_name
        >>> plain_name("{target: nets.py:Encoder, width: 64}"), plain_name("a/../z.npy")
        ('target_nets.py_Encoder_width_64', 'a_.._z.npy')
    """
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("_.") or "input"


def short_names(paths: list[str]) -> dict[str, str]:
    """Return the shortest unique suffix of each path, in whole path components.

    Args:
        paths: paths with ``/`` or ``\\`` as separator.

    Returns:
        Suffix by path. A path that is a suffix of another one keeps all its components.

    Example:
        >>> from mmdprior.naming import short_names
        >>> short_names(["runs/vae/seed_0/last.pt", "runs/mmd/seed_0/last.pt"])
        {'runs/vae/seed_0/last.pt': 'vae/seed_0/last.pt', 'runs/mmd/seed_0/last.pt': 'mmd/seed_0/last.pt'}
    """
    components = {path: path.replace("\\", "/").strip("/").split("/") for path in paths}
    names = {}
    for path, parts in components.items():
        others = [other for key, other in components.items() if key != path]
        unique = (k for k in range(1, len(parts)) if all(other[-k:] != parts[-k:] for other in others))
        names[path] = "/".join(parts[-next(unique, len(parts)) :])
    return names
