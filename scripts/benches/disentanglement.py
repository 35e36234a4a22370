"""Supervised scores: values and CPU time, against the reference implementation.

bench.py disentanglement                                        # time of every score on synthetic codes
bench.py disentanglement --data dsprites_grid.npz               # PCA and FastICA codes of its images
bench.py disentanglement --codes codes.npy --factors data.npz:factors --reference CHECKOUT

With --reference, a checkout of google-research/disentanglement_lib runs on the same codes, in this process.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from benches.scores.reference import load, reference_scores

from mmdprior.metrics import SupervisedProtocol, disentanglement

CLASSICAL = ("beta_vae", "factor_vae", "mig", "sap", "sap_r2", "modularity", "explicitness", "irs")
DCI = ("dci_disentanglement", "dci_completeness", "dci_informativeness")
OTHERS = (
    "mig_sup",
    "dcimig",
    "jemmig",
    "med",
    "dci_es",
    "info_m",
    "info_e",
    "info_c",
    "mcc_pearson",
    "mcc_spearman",
)
SIZES = (3, 6, 10, 8, 8)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="bench.py disentanglement",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", help=".npz with images and factors, whose PCA and FastICA codes are scored")
    parser.add_argument("--codes", nargs="+", default=[], help=".npy files of codes of the rows of --factors")
    parser.add_argument("--factors", help=".npy, or .npz:key, of the factors of --codes")
    parser.add_argument("--dims", type=int, default=10, help="number of PCA codes")
    parser.add_argument("--reference", help="checkout of google-research/disentanglement_lib")
    parser.add_argument("--device", default="cpu", help="device of the codes; the reference runs on the CPU")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--without-dci", action="store_true", help="leave out DCI, which takes most of the time"
    )
    parser.add_argument("--probe", nargs="+", default=["histogram"], help="probes of DCI to compare")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    module = load(options.reference) if options.reference else None
    for title, codes, factors in sets_of_codes(options):
        print(f"\n{title}: {len(codes)} codes of {codes.shape[1]} dimensions")
        compare(codes, factors, module, options)


def sets_of_codes(options):
    """Yield name, codes and factors."""
    if options.data:
        file = np.load(options.data)
        images = file["images"].reshape(len(file["images"]), -1).astype(np.float32) / 255
        pca = principal_components(images, options.dims)
        yield "PCA", pca, file["factors"]
        from sklearn.decomposition import FastICA

        yield "FastICA", FastICA(whiten="unit-variance", random_state=0).fit_transform(pca), file["factors"]
    for path in options.codes:
        name, _, key = options.factors.partition(":")
        factors = np.load(name)[key] if key else np.load(name)
        yield path, np.load(path).astype(np.float64), factors
    if not options.data and not options.codes:
        factors = np.stack([a.ravel() for a in np.meshgrid(*map(np.arange, SIZES), indexing="ij")], 1)
        identity = (factors - factors.mean(0)) / factors.std(0)
        rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
        yield "standardised factors", identity, factors
        yield "rotated", identity @ rotation, factors


def principal_components(images, dims):
    images -= images.mean(0)
    _, directions = np.linalg.eigh((images.T @ images / len(images)).astype(np.float64))
    return images.astype(np.float64) @ directions[:, ::-1][:, :dims]


def compare(codes, factors, module, options):
    """Print scores, means over seeds, and CPU seconds of both implementations."""
    dci = () if options.without_dci else DCI
    groups = {"classical without DCI": CLASSICAL, **{f"DCI {p}": dci for p in options.probe if dci}}
    groups |= {"others": OTHERS}
    scored = codes if options.device == "cpu" else torch.as_tensor(codes, device=options.device)
    warm_up(scored, factors)
    reference = {}  # runs by names of scores: the probes of DCI share theirs
    for title, names in groups.items():
        protocol = SupervisedProtocol(
            irs_bins=20, probe=title[4:] if title.startswith("DCI") else "histogram"
        )
        runs = [timed(scored, factors, names, protocol, seed) for seed in range(options.seeds)]
        ours = {name: np.mean([scores[name] for scores, _ in runs]) for name in names}
        seconds = np.median([s for _, s in runs])
        print(f"  {title}: {seconds:.3f} CPU seconds")
        theirs = {}
        if module and title != "others":
            if names not in reference:
                reference[names] = [
                    reference_scores(module, codes, factors, names, seed) for seed in range(options.seeds)
                ]
            runs = reference[names]
            theirs = {name: np.mean([scores[name] for scores, _ in runs]) for name in names}
            theirs_seconds = np.median([sum(times.values()) for _, times in runs])
            print(
                f"  reference: {theirs_seconds:.2f} CPU seconds, {theirs_seconds / seconds:.1f} times as long"
            )
        for name in names:
            print(f"    {name:20}{ours[name]:9.4f}" + (f"  reference {theirs[name]:7.4f}" if theirs else ""))


def warm_up(codes, factors):
    """Import everything that the scores import, and load the kernels of a device."""
    rows = np.random.default_rng(0).permutation(len(codes))[:300]
    if isinstance(codes, torch.Tensor) and codes.is_cuda:
        timed(codes, factors, [*CLASSICAL, *OTHERS], SupervisedProtocol(irs_bins=20), 0)
    timed(codes[rows], factors[rows], None, SupervisedProtocol(probe="gradient_boosted"), 0)


def timed(codes, factors, names, protocol, seed):
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = disentanglement(codes, factors, scores=names, protocol=protocol, chance=0, seed=seed)
    return result.scores, time.process_time() - start
