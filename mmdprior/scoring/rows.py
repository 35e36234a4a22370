"""Scores of inputs as rows, which ``mmdprior compare`` reads next to run directories and rows of studies."""

import json
from collections.abc import Mapping
from pathlib import Path

from mmdprior.config.load import parse_value
from mmdprior.evaluation import Evaluation
from mmdprior.files import write_whole
from mmdprior.naming import short_names
from mmdprior.results import to_plain

__all__ = ["append_rows"]


def append_rows(
    path: str | Path, results: Mapping[str, Evaluation], *, data: str | None = None, seed: int = 0
) -> None:
    """Append one row per result to a file, which is created where missing.

    Args:
        path: file of rows (``.jsonl``).
        results: scores by path of the input. Its short name becomes that of the configuration.
        data: the data as a command names them: a path, or YAML; None for those of the input.
        seed: seed of the scores.

    Example:
        >>> import torch
        >>> from mmdprior import Latent
        >>> from mmdprior.evaluation import Codes, score_codes
        >>> from mmdprior.scoring.rows import append_rows
        >>> z = torch.randn(100, 2)
        >>> scores = score_codes(Codes(Latent(z, z), torch.empty(100, 0), ()), ["linear"])
        >>> append_rows("scores.jsonl", {"theirs.pt": scores})
        >>> from mmdprior.comparison import read_runs
        >>> read_runs(["scores.jsonl"]).title
        'theirs.pt'
    """
    names = short_names(list(results))
    content = {"name": "of the input"} if data is None else parse_value(data, "--data")
    section = content if isinstance(content, dict) else {"name": Path(str(content)).name}
    file = Path(path)
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    for name, result in results.items():
        config = {"name": names[name], "seed": seed, "data": section, "model": {"latent_dim": result.dim}}
        row = {"config": config, "test": to_plain(result.to_dict()), "facts": {}}
        text += json.dumps(row, separators=(",", ":"), default=str) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, text)
