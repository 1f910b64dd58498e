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


def load_pretrained(place: Any, *, dtype: Any, failure: str, **options: Any) -> tuple[Any, Any]:
    """Return the causal language model and the tokenizer at `place`.

    `options` go to both `from_pretrained` calls. Raises `ModelError` as `name_failures` does.
    """
    with name_failures(failure):
        module = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **options)
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
    return module, tokenizer


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
