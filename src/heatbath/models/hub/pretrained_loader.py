"""Quiet loading of networks and tokenizers with `transformers`, any failure a `ModelError`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import utils
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from heatbath.errors import ModelError
from heatbath.models.hub.loading_report import LoadingReport, read_loading_report


def load_module(place: Any, *, dtype: Any, failure: str, **options: Any) -> Any:
    """Return the causal language model at `place`.

    `options` go to `from_pretrained`. Raises `ModelError`: for tensors that are missing, unused or of another shape,
    with their names; for any other error as `name_failures` does.
    """
    module, report = read_module(place, dtype=dtype, failure=failure, **options)
    report.raise_problems(place)
    return module


def read_module(place: Any, *, dtype: Any, failure: str, **options: Any) -> tuple[Any, LoadingReport]:
    """Return the causal language model at `place` and its loading report: what is missing is random in it."""
    with name_failures(failure):
        # Tensors of another shape are in the report then, and named.
        module, info = AutoModelForCausalLM.from_pretrained(
            place, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    return module, read_loading_report(module, info)


def load_tokenizer(place: Any, *, failure: str, **options: Any) -> Any:
    """Return the tokenizer at `place`, with the errors of `load_module`."""
    with name_failures(failure):
        return AutoTokenizer.from_pretrained(place, **options)


@contextmanager
def name_failures(failure: str) -> Iterator[None]:
    """Raise any error as a `ModelError` with the message `failure`: a damaged file can make readers raise anything.

    `{reason}` in the message stands for the first line of the error.
    """
    try:
        yield
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(failure.replace("{reason}", reason[:200])) from error


@contextmanager
def suppress_library_output() -> Iterator[None]:
    """Hide progress bars, warnings and log lines below an error of `transformers` and the hub client."""
    hub: Any = utils
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_has_bars = not hub.are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    hub.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
        if hub_has_bars:
            hub.enable_progress_bars()
