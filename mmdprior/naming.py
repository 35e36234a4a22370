"""Names by which files and runs are told apart."""

__all__ = ["short_names"]


def short_names(paths: list[str]) -> dict[str, str]:
    """Return the shortest ends of paths, in whole parts, that tell them apart."""
    parts = {path: path.replace("\\", "/").strip("/").split("/") for path in paths}
    names = {}
    for path, own in parts.items():
        others = [other for key, other in parts.items() if key != path]
        count = next((k for k in range(1, len(own)) if all(o[-k:] != own[-k:] for o in others)), len(own))
        names[path] = "/".join(own[-count:])
    return names
