"""Slots: signatures, and nested slots of users' targets under any argument name."""

import collections.abc
import typing
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import yaml
from helpers import nested_targets
from helpers.configs import NESTED, SMALL
from torch import Tensor, nn

from mmdprior.build.construct import SlotBuilder
from mmdprior.build.data import open_splits
from mmdprior.config import dump_config
from mmdprior.config.catalogue import NAMES
from mmdprior.config.load import make_config
from mmdprior.config.signature import SUPPLIED, signature_of, slot_type
from mmdprior.config.slots import check_slot
from mmdprior.data import Source
from mmdprior.kernels import IMQ, RBF, Kernel, Sum
from mmdprior.models import GaussianPosterior, Likelihood, Posterior
from mmdprior.priors import Gaussian, Prior, PriorLike, Product, Uniform
from mmdprior.regularizers import MMD, Regularizer, Weighted
from mmdprior.regularizers.estimators import Estimator
from mmdprior.runs import assemble
from mmdprior.training import Schedule, Warmup

PENALTY = {"target": f"{NESTED}:Mixed", "goal": "gaussian", "near": "rbf"}


def penalty_slot(**changes):
    return check_slot("regularizer", {**PENALTY, **changes})


def build(kind, value):
    return SlotBuilder({"dim": 4, "seed": 0, "steps": 100}).build(check_slot(kind, value))


class TestTypes:
    @pytest.mark.parametrize(
        ("hint", "expected"),
        [
            (Prior, ("prior", False)),
            (Gaussian, ("prior", False)),
            (PriorLike, ("prior", False)),
            (Kernel | None, ("kernel", False)),
            (typing.Optional[Kernel], ("kernel", False)),  # noqa: UP045
            (Regularizer, ("regularizer", False)),
            (Sequence[Regularizer | Weighted], ("weighted_regularizer", True)),
            (list[Prior], ("prior", True)),
            (tuple[Kernel, ...] | None, ("kernel", True)),
            (typing.List[Kernel], ("kernel", True)),  # noqa: UP006
            (Posterior, ("posterior", False)),
            (Likelihood, ("likelihood", False)),
            (Schedule, ("schedule", False)),
            (Callable[[int], float], ("schedule", False)),
            (str | Estimator | Callable[[Tensor, Tensor, Kernel], Tensor], ("estimator", False)),
            (Source, ("source", False)),
            (Callable[[Tensor], Tensor] | None, ("function", False)),
            (collections.abc.Callable, ("function", False)),
            (typing.Callable, ("function", False)),
            (str | Callable[[Tensor], Tensor], (None, False)),
            (dict[str, Kernel], (None, False)),
            (list[list[Kernel]], (None, False)),
            (nn.Module, (None, False)),
            (Tensor | Sequence[float], (None, False)),
            (list[int], (None, False)),
            (list, (None, False)),
            (typing.Any, (None, False)),
            (None, (None, False)),
        ],
        ids=str,
    )
    def test_kind_of_slot_by_type_hint(self, hint, expected):
        assert slot_type(hint) == expected

    def test_arguments_that_the_builder_supplies_cannot_be_set(self):
        for kind, names in SUPPLIED.items():
            for factory in NAMES[kind].values():
                settable = {"dim"} if kind == "prior" else set()
                assert not (names - settable) & signature_of(factory, kind).arguments.keys()

    def test_private_arguments_cannot_be_set(self):
        def penalty(scale: float = 1.0, _cache: object = None) -> Regularizer: ...

        assert list(signature_of(penalty, "regularizer").arguments) == ["scale"]

    @pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in NAMES for name in NAMES[kind]])
    def test_every_argument_of_every_name_is_documented(self, kind, name):
        signature = signature_of(NAMES[kind][name], kind)
        undocumented = [key for key, argument in signature.arguments.items() if not argument.description]
        assert undocumented in ([], ["penalty", "weight", "schedule"])


class TestUsersTargets:
    def test_every_form_of_nested_slot_is_checked_and_built(self):
        penalty = build(
            "regularizer",
            {
                **PENALTY,
                "near": {"name": "imq", "scale": 2.0},
                "far": "rbf",
                "more": ["energy", {"target": f"{NESTED}:twice", "inner": "rbf"}],
                "base": {"name": "mmd", "prior": "uniform"},
                "rise": {"name": "warmup", "warmup_steps": 10},
                "squash": {"target": f"{NESTED}:capped", "limit": 2.0},
                "strength": 3.0,
            },
        )
        assert [type(kernel).__name__ for kernel in penalty.kernels] == ["IMQ", "RBF", "Energy", "Sum"]
        assert isinstance(penalty.base, MMD)
        assert isinstance(penalty.base.prior, Uniform)
        assert isinstance(penalty.rise, Warmup)
        assert penalty.squash(torch.tensor(5.0)) == 2.0
        assert penalty.inner.prior.dim == 4

    def test_a_function_returns_the_penalty(self):
        value = {"target": f"{NESTED}:my_penalty", "prior": "gaussian", "kernel": "rbf"}
        assert isinstance(build("regularizer", value), MMD)
        assert isinstance(build("regularizer", {**value, "other": "imq"}).kernel, Sum)

    def test_optional_slots_may_be_absent_or_null(self):
        for slot in (penalty_slot(), penalty_slot(far=None, more=None, base=None)):
            assert slot.to_dict() == {
                "target": f"{NESTED}:Mixed",
                "goal": {"name": "gaussian", "dim": None, "mean": 0.0, "scale": 1.0},
                "near": {"name": "rbf", "lengthscale": "sqrt_dim", "factors": [1.0]},
                "strength": 1.0,
            }
            assert len(SlotBuilder({"dim": 4}).build(slot).kernels) == 1

    def test_the_default_of_the_factory_is_used_and_the_builder_supplies_the_rest(self):
        value = {"target": f"{NESTED}:with_default", "goal": "uniform"}
        penalty = build("regularizer", value)
        assert isinstance(penalty.kernel, RBF)
        assert penalty.given_dim == 4
        assert isinstance(build("regularizer", {**value, "shape": "imq"}).kernel, IMQ)

    def test_priors_made_of_priors(self):
        part = {
            "target": f"{NESTED}:shifted",
            "origin": {"name": "uniform", "dim": 2},
            "shift": 10.0,
            "dim": 2,
        }
        prior = build(
            "prior", {"target": f"{NESTED}:side_by_side", "parts": [part, {**part, "shift": -10.0}]}
        )
        assert isinstance(prior, Product)
        draws = prior.sample(100)
        assert draws.shape == (100, 4)
        assert (draws[:, :2] >= 9).all()
        assert (draws[:, 2:] <= -9).all()

    def test_kernels_made_of_kernels(self):
        value = {"target": f"{NESTED}:twice", "inner": {"target": f"{NESTED}:twice", "inner": "imq"}}
        kernel = build("kernel", value)
        assert isinstance(kernel.terms()[0].terms()[1], IMQ)

    def test_schedules_made_of_schedules(self):
        value = {"target": f"{NESTED}:slower", "inner": {"name": "warmup", "warmup_steps": 10}, "factor": 5}
        assert build("schedule", value)(20) == 0.5

    def test_sources_made_of_sources(self):
        raw = {"target": f"{NESTED}:first", "images": {"name": "sprites", "images": 200}, "count": 100}
        config = make_config({**SMALL, "data": {**raw, "batch_size": 16}})
        splits = open_splits(config.slots["data"], config.data)
        assert len(splits.train) == 80

    def test_a_class_in_the_slot_of_a_function_is_built(self):
        prior = build("prior", {"name": "transform", "base": "gaussian", "fn": {"target": "torch.nn:Tanh"}})
        assert prior.sample(100).abs().max() <= 1

    def test_a_callable_next_to_plain_values_is_plain(self):
        slot = check_slot("regularizer", {"target": f"{NESTED}:plain_union", "activation": "gelu"})
        assert slot.arguments == {"activation": "gelu"}

    def test_the_resolved_config_loads_to_itself_and_trains(self):
        more = [{"target": f"{NESTED}:twice", "inner": "rbf"}, "energy"]
        base = {"name": "sum", "penalties": [{"name": "mmd", "prior": "uniform", "weight": 2.0}]}
        penalty = {**PENALTY, "more": more, "base": base, "weight": 5.0, "schedule": "constant"}
        config = make_config({**SMALL, "regularizer": penalty})
        resolved = yaml.safe_load(dump_config(config))
        again = make_config(resolved)
        assert again.to_dict() == resolved == config.to_dict()
        assert again.slots["regularizer"] == config.slots["regularizer"]
        experiment = assemble(again, progress=False)
        experiment.trainer.validate = None
        experiment.trainer.run()
        assert experiment.trainer.step == 1

    def test_nested_slots_know_their_key_path(self):
        slot = penalty_slot(more=["rbf", {"name": "sum", "kernels": ["imq", "rbf"]}])
        assert slot.arguments["goal"].path == "regularizer.goal"
        assert slot.arguments["more"][1].arguments["kernels"][0].path == "regularizer.more.1.kernels.0"
        penalties = [{"name": "mmd", "prior": "uniform"}]
        part = check_slot("regularizer", {"name": "sum", "penalties": penalties}).arguments["penalties"][0]
        assert part.arguments["penalty"].arguments["prior"].path == "regularizer.penalties.0.prior"

    def test_relative_files_are_looked_up_next_to_the_yaml_file(self, tmp_path):
        (tmp_path / "mine.py").write_text(NESTED.read_text())
        value = {"target": "mine.py:twice", "inner": {"target": "mine.py:twice", "inner": "rbf"}}
        slot = check_slot("kernel", value, folder=tmp_path)
        assert Path(slot.arguments["inner"].target.rpartition(":")[0]) == tmp_path / "mine.py"

    def test_the_intended_prior_is_that_of_the_penalty(self):
        from mmdprior.build import Builder

        penalty = {"target": f"{NESTED}:my_penalty", "prior": "uniform", "kernel": "rbf"}
        parts = [{**PENALTY, "goal": "uniform"}, "none"]
        for value in (penalty, {**PENALTY, "goal": "uniform"}, {"name": "sum", "penalties": parts}):
            prior = Builder(make_config({**SMALL, "regularizer": value})).intended_prior()
            assert isinstance(prior, Uniform)


def test_a_slot_of_a_posterior_is_recognised_in_a_signature():
    def penalty(noise: Posterior) -> Regularizer: ...

    assert signature_of(penalty, "regularizer").slots() == ["noise"]
    assert isinstance(build("posterior", "gaussian"), GaussianPosterior)


def test_hints_of_the_targets_are_strings_that_are_resolved():
    assert isinstance(nested_targets.Mixed.__init__.__annotations__["goal"], str)
