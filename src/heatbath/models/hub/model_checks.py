"""Checks of a model by name, with measured numbers: loading, network, tokenizer, and energies against transformers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from heatbath.errors import ModelError
from heatbath.models.hf.end_tokens import describe_end_tokens
from heatbath.models.hf.network_check import TOLERANCES, Difference
from heatbath.models.hf.template_check import find_template_differences
from heatbath.models.hf.tokenizer import ModelTokenizer
from heatbath.models.hf.transformers_model import TransformersModel
from heatbath.models.hub.load import load, resolve_weights
from heatbath.models.hub.pretrained_loader import read_module, suppress_library_output
from heatbath.models.hub.reference import compare_with_module

_TEXT = "The capital of France is Paris.\n\nfor i in range(10):\n    print(i, 3 * i)  # naïve, 42 × 7 = 294\n"
_LENGTHS = (24, 13, 9)
_CACHE_TEXT = {
    "batch": "steps of a padded batch",
    "length": "steps of rows of one length; rows of several lengths run one by one",
    "row": "steps of each row alone; batches run row by row",
    "none": "not used, every step evaluates the whole text: right, but slow",
}


@dataclass(frozen=True)
class ModelCheck:
    """One line of the report: `values` are its numbers, with units in their names."""

    name: str
    passed: bool
    text: str
    values: dict[str, Any] = field(default_factory=dict)


def check_model_by_name(name: str, *, dtype: Any = None, device: Any = None) -> Iterator[ModelCheck]:
    """Yield the checks of a model one by one; a model that cannot be loaded fails the first and has no others.

    Its weights are read twice, the second time in float32 as the reference. Raises `BadInput` for an unknown name.
    """
    try:
        folder, _ = resolve_weights(name)
        model = load(name, dtype=dtype, device=device)
    except ModelError as error:
        yield ModelCheck("loading", False, str(error))
        return
    yield _describe_loading(model)
    yield from _check_network(model)
    if isinstance(model.tokenizer, ModelTokenizer):
        yield _check_tokenizer(model, model.tokenizer)
        yield _check_template(model.tokenizer)
    yield from _check_energies(model, folder)
    yield ModelCheck("fingerprint", True, model.fingerprint, {"fingerprint": model.fingerprint})


def _describe_loading(model: TransformersModel) -> ModelCheck:
    module = model.network.module
    count, kind = len(module.state_dict()), type(module).__name__
    millions = sum(weight.numel() for weight in module.parameters()) / 1e6
    dtype = str(model.dtype).removeprefix("torch.")
    return ModelCheck(
        "loading",
        True,
        f"{kind}, {millions:.4g} million parameters in {dtype} on {model.device}; {count} tensors, none missing, "
        "unused or of another shape",
        {"class": kind, "parameters": int(millions * 1e6), "tensors": count, "dtype": dtype},
    )


def _check_network(model: TransformersModel) -> Iterator[ModelCheck]:
    """Yield what loading measured; a network that fails is not loaded."""
    found = model.network_check
    if found.causality is not None:
        text = f"other tokens at the end change earlier log-probabilities by {found.causality.nats:.1e} nats"
        yield ModelCheck("causality", True, text, {"change_nats": found.causality.nats})
    step = "" if found.step is None else f": {found.step.nats:.1e} nats from one pass without a cache"
    values = {"use": found.cache_use, "error_nats": None if found.step is None else found.step.nats}
    yield ModelCheck("cache", True, _CACHE_TEXT[found.cache_use] + step, values)


def _check_tokenizer(model: TransformersModel, tokenizer: ModelTokenizer) -> ModelCheck:
    """Compare the text of tokens with that of `transformers`, and say what ends a sequence."""
    tokens, size = model.encode(_TEXT), model.vocabulary.size
    closed = int((~model.network.close_tokens(torch.zeros(size, device=model.device)).isfinite()).sum())
    ours = model.decode(tokens)
    theirs = tokenizer.fast_tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
    passed = ours.lstrip(" ") == theirs.lstrip(" ")
    text = f"{size} rows, {closed} without a token and closed; {len(tokens)} ids for {len(_TEXT)} characters"
    if not passed:
        text += f"; their text is {ours!r:.60}, transformers gives {theirs!r:.60}"
    stop = model.vocabulary.stop_token_ids
    text += f"; {describe_end_tokens(stop, model.token_bytes)}"
    values = {"rows": size, "closed": closed, "start": list(model.vocabulary.start_token_ids), "stop": list(stop)}
    return ModelCheck("tokenizer", passed, text, values)


def _check_template(tokenizer: ModelTokenizer) -> ModelCheck:
    if not tokenizer.fast_tokenizer.chat_template:
        return ModelCheck("chat template", True, "none", {"conversations": 0})
    taken, differences = find_template_differences(tokenizer)
    text = f"the ids of {taken} conversations are those of apply_chat_template"
    if differences:
        text = f"{len(differences)} of {taken} conversations have other ids than apply_chat_template: {differences[0]}"
    return ModelCheck("chat template", not differences, text, {"conversations": taken, "different": len(differences)})


def _check_energies(model: TransformersModel, folder: Path) -> Iterator[ModelCheck]:
    """Yield the distances of measuring, generation and serving from a plain forward pass in float32."""
    failure = f"the model in {folder} cannot be read ({{reason}})."
    with suppress_library_output():
        module, _ = read_module(folder, dtype=torch.float32, failure=failure, local_files_only=True)
        errors = compare_with_module(model, module.to(model.device).eval(), _sample_sequences(model))
    tolerance = TOLERANCES[model.dtype]
    median, largest = float(errors.token_errors.median()), float(errors.token_errors.max())
    extra = f"; of the tokens' own, median {median:.1e}, largest {largest:.1e}"
    yield _compare("measure", errors.score, tolerance, extra)
    yield _compare("generate", errors.session, tolerance)
    yield _compare("serve", errors.pool, tolerance)


def _compare(name: str, difference: Difference, tolerance: float, extra: str = "") -> ModelCheck:
    return ModelCheck(
        name,
        difference.relative <= tolerance,
        f"log-probabilities within {difference.nats:.1e} nats of transformers in float32{extra}",
        {"error_nats": difference.nats, "relative": difference.relative, "tolerance": tolerance},
    )


def _sample_sequences(model: TransformersModel) -> list[list[int]]:
    """Return sequences of several lengths: of a text where the model has a tokenizer, else of random tokens."""
    longest = min(_LENGTHS[0], model.context_length or _LENGTHS[0])
    if isinstance(model.tokenizer, ModelTokenizer):
        tokens = [*model.vocabulary.start_token_ids, *model.encode(_TEXT * 4)]
    else:
        draw = torch.Generator().manual_seed(0)
        tokens = torch.randint(model.vocabulary.size, (2 * longest,), generator=draw).tolist()
    return [tokens[: min(length, longest)] for length in _LENGTHS if length <= len(tokens)]
