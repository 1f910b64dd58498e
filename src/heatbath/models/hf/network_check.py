"""The check of a network at load: causal, finite, and the same with its cache as without.

A few tokens suffice, since these are properties of an architecture, not of weights. The cached steps of two rows of
different length are compared with one pass over whole sequences, run between them: a network that keeps a state in its
modules loses it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from heatbath.errors import ModelError
from heatbath.models.hf.network import CacheUse, Network, detect_plain_head
from heatbath.models.hf.output_head import use_wide_head
from heatbath.models.hf.row_sessions import open_session

LENGTH = 6
TOLERANCES = {torch.float64: 2e-4, torch.float32: 2e-4, torch.bfloat16: 0.1, torch.float16: 0.05}
"""Largest accepted difference of energies, as a part of their spread over the vocabulary."""
_CAUSALITY_FLOOR = 0.02
_NOISE_FACTOR = 10
_MIN_SPREAD = 1e-3


@dataclass(frozen=True)
class EnergyDifference:
    """The distance between two computations of the same energies.

    Attributes:
        nats: largest difference of a log-probability.
        relative: root mean square difference of energies, divided by their standard deviation over the vocabulary.
    """

    nats: float
    relative: float


@dataclass(frozen=True)
class NetworkCheck:
    """The result of a check.

    Attributes:
        cache_use: the sessions that the cache is right for, as in `Network`.
        causality: change of earlier energies with other later tokens; None for a context too short to try.
        step: energies of cached steps against those of one pass; None where the cache is not used.
        tolerance: the largest relative difference accepted.
    """

    cache_use: CacheUse
    causality: EnergyDifference | None
    step: EnergyDifference | None
    tolerance: float


def check_network(network: Network, *, name: str, context_length: int | None) -> tuple[Network, NetworkCheck]:
    """Return the network with what was found of its cache and its output head, and what was measured.

    Raises `ModelError` for a network that is not causal, gives NaN, or cannot be evaluated.
    """
    tolerance = TOLERANCES.get(network.module.dtype, TOLERANCES[torch.float32])
    length = LENGTH if context_length is None else min(LENGTH, context_length)
    try:
        network = replace(network, has_plain_head=detect_plain_head(network))
        if length < 3:
            unused = replace(network, cache_use="none", windows=None)
            return unused, NetworkCheck("none", None, None, tolerance)
        trial = _Trial(network, _draw_tokens(network, length), context_length)
        if not network.has_plain_head:
            use_wide_head(network.module)
        cache_use, step = trial.find_cache_use(tolerance)
        if trial.whole is None:
            trial.evaluate_whole()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{name} cannot be evaluated by transformers ({reason:.200}).") from error
    trial.validate_finite(name)
    causality = trial.validate_causality(tolerance, name)
    used = replace(network, cache_use=cache_use, windows=None if cache_use == "none" else network.windows)
    return used, NetworkCheck(cache_use, causality, step, tolerance)


def energy_difference(actual: torch.Tensor, expected: torch.Tensor) -> EnergyDifference:
    """Return the distance between energies (..., V), whatever constant is added to them; closed tokens are left out."""
    is_open = expected.isfinite()
    if not torch.equal(is_open, actual.isfinite()):
        return EnergyDifference(torch.inf, torch.inf)
    gap = (-actual.double()).log_softmax(-1) - (-expected.double()).log_softmax(-1)
    nats = float(torch.where(is_open, gap, 0.0).abs().max())
    centred, reference = (_centre(values.double(), is_open) for values in (actual, expected))
    spread = reference.square().mean().sqrt().clamp_min(_MIN_SPREAD)
    return EnergyDifference(nats, float((centred - reference).square().mean().sqrt() / spread))


def _centre(energies: torch.Tensor, is_open: torch.Tensor) -> torch.Tensor:
    finite = torch.where(is_open, energies, 0.0)
    mean = finite.sum(-1, keepdim=True) / is_open.sum(-1, keepdim=True)
    return torch.where(is_open, finite - mean, 0.0)


@dataclass
class _Trial:
    """Sequences `tokens` (2, T) that differ in their last two tokens, and their energies `whole` (2, T, V)."""

    network: Network
    tokens: torch.Tensor
    context_length: int | None
    whole: torch.Tensor | None = None

    def evaluate_whole(self) -> torch.Tensor:
        """Compute the energies at every position of both sequences without a cache."""
        with torch.inference_mode():
            self.whole = self.network.position_energies(self.tokens, keep=0)
        return self.whole

    def find_cache_use(self, tolerance: float) -> tuple[CacheUse, EnergyDifference | None]:
        """Return the widest use of the cache whose steps have the energies of one pass, and their distance."""
        for cache_use in _possible_uses(self.network):
            step = self._step_difference(replace(self.network, cache_use=cache_use))
            if step is not None and step.relative <= tolerance:
                return cache_use, step
        return "none", None

    def _step_difference(self, network: Network) -> EnergyDifference | None:
        """Return the distance of a session's energies from those of one pass; None for a cache that cannot be used."""
        long = self.tokens.shape[1] - 2
        places = [(0, long), (1, long)] if network.cache_use == "length" else [(0, long), (0, 1)]
        try:
            return energy_difference(*self._evaluate_step(network, places))
        except Exception:  # a network refuses a cache it does not know in its own way
            return None

    def _evaluate_step(self, network: Network, places: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the energies of a session before and after a step, and those of one pass between: (4, V) each.

        `places` are the row of each prompt and its length.
        """
        sequences: list[list[int]] = self.tokens.tolist()
        prompts = [sequences[row][:length] for row, length in places]
        size = int(network.config.vocab_size)
        session = open_session(network, prompts, context_length=self.context_length, vocab_size=size)
        before = session.energies()
        whole = self.evaluate_whole()
        session.push([sequences[row][length] for row, length in places])
        rows, columns = torch.tensor(places, device=whole.device).T
        expected = torch.cat([whole[rows, columns - 1], whole[rows, columns]])
        return torch.cat([before, session.energies()]).to(expected.dtype), expected

    def validate_causality(self, tolerance: float, name: str) -> EnergyDifference:
        """Return the change of the energies that both sequences share; raise `ModelError` for more than rounding."""
        whole, last = self._shared_energies(), self.tokens.shape[1] - 2
        change, limit = energy_difference(whole[1], whole[0]), _CAUSALITY_FLOOR * tolerance
        if change.relative > limit:  # a mixture of experts rounds differently when other tokens go elsewhere
            with torch.inference_mode():
                alone = self.network.position_energies(self.tokens[:1], keep=0)[0, :last]
            limit = max(limit, min(tolerance, _NOISE_FACTOR * energy_difference(alone, whole[0]).relative))
        if change.relative > limit:
            raise ModelError(
                f"{name} ({type(self.network.module).__name__}) is not a causal language model: other tokens at the "
                f"end of a text change the log-probabilities before them by up to {change.nats:.2g} nats. "
                "Give a decoder-only model trained to predict the next token."
            )
        return change

    def validate_finite(self, name: str) -> None:
        """Raise `ModelError` for NaN, and for infinite energies of tokens that are not closed."""
        whole = self._shared_energies()
        is_open = self.network.close_tokens(torch.zeros_like(whole[0, 0])).isfinite()
        if not bool(whole[..., is_open].isfinite().all()):
            wide = self.network.module.dtype.itemsize >= 4
            remedy = "fetch its weights again" if wide else "load it with dtype='float32', or fetch its weights again"
            raise ModelError(f"{name} gives energies that are not finite: {remedy}.")

    def _shared_energies(self) -> torch.Tensor:
        whole = self.evaluate_whole() if self.whole is None else self.whole
        return whole[:, : self.tokens.shape[1] - 2]


def _possible_uses(network: Network) -> Sequence[CacheUse]:
    if network.cache_name is None:
        return ()
    return ("length", "row") if network.cache_name == "state" else ("batch", "length", "row")


def _draw_tokens(network: Network, length: int) -> torch.Tensor:
    """Draw two sequences (2, T) of tokens with energies, which differ in their last two."""
    size = int(network.config.vocab_size)
    is_open = network.close_tokens(torch.zeros(size, device=network.device)).isfinite().nonzero()[:, 0].cpu()
    order = is_open[torch.randperm(len(is_open), generator=torch.Generator().manual_seed(0))]
    places = torch.arange(length)
    later = places + (places >= length - 2)
    return torch.stack([order[places % len(order)], order[later % len(order)]]).to(network.device)
