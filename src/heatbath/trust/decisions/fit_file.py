"""The result of a fit to one question and one model, and its JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heatbath.engine.base import ModelInfo
from heatbath.errors import BadInput
from heatbath.models.base import TensorModel
from heatbath.record import atomic_write
from heatbath.trust.decisions.head import LabelHead
from heatbath.trust.decisions.label_tokens import Tokenizations
from heatbath.trust.decisions.levels import Level
from heatbath.trust.decisions.questions import DecisionQuestion

KIND = "heatbath decision fit"
SCHEMA = 1


@dataclass(frozen=True)
class DecisionFit:
    """Numbers fitted to a question and a model, and the settings that they hold for.

    Attributes:
        model: name of the model; `fingerprint` and `dtype` say which one it is.
        rotations: number of orders that are averaged, None for all.
        offsets: offset of each label; empty where none were fitted.
        temperature: temperature of the level of this name, or None.
        head: classifier of the level of this name, or None.
        held_out_scores: scores of held-out texts by level, in order of size, for conformal sets.
        sizes: number of texts of the pool, labelled and held out.
        data_hash: hash of these texts.
        created: date of the fit.
    """

    question: DecisionQuestion
    model: str
    fingerprint: str
    dtype: str | None
    rotations: int | None
    tokenizations: Tokenizations
    offsets: tuple[float, ...] = ()
    temperature: float | None = None
    head: LabelHead | None = None
    held_out_scores: Mapping[str, tuple[float, ...]] | None = None
    sizes: Mapping[str, int] | None = None
    data_hash: str = ""
    created: str = ""

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels that it gives, the lowest first."""
        fitted: dict[Level, bool] = {"temperature": self.temperature is not None, "head": self.head is not None}
        return ("raw", "order", *(level for level, is_fitted in fitted.items() if is_fitted))

    def validate_model(self, model: ModelInfo) -> None:
        """Raise `BadInput` for a model other than that of the fit."""
        if model.fingerprint != self.fingerprint:
            raise BadInput(
                f"the fit is for {self.model} ({self.fingerprint:.19}…) and the model is {model.name} "
                f"({model.fingerprint:.19}…): fit again with this model."
            )
        dtype = model_dtype(model)
        if dtype != self.dtype:
            raise BadInput(
                f"the fit is for {self.model} in {self.dtype} and the model is in {dtype}: load it in {self.dtype}, "
                "or fit again."
            )

    def validate_level(self, level: Level) -> None:
        """Raise `BadInput` for a level that was not fitted."""
        if level not in self.levels:
            raise BadInput(
                f"the fit has no level {level}, only {', '.join(self.levels)}: fit it with labelled texts.",
                param="level",
            )

    def save(self, path: str | Path) -> None:
        """Write the fit to a JSON file, whole or not at all."""
        content = {"kind": KIND, "schema": SCHEMA, **_to_builtins(asdict(self))}
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
        with atomic_write(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")


def model_dtype(model: ModelInfo) -> str | None:
    """Return the dtype of a model's energies as text, None for a model without tensors."""
    return str(model.dtype).removeprefix("torch.") if isinstance(model, TensorModel) else None


def load_decision_fit(path: str | Path, model: ModelInfo | None = None) -> DecisionFit:
    """Read a fit.

    Raises:
        BadInput: there is no such file, it holds something else, or another schema, or is for another model.
    """
    content = _read_json(Path(path))
    if not isinstance(content, dict) or content.pop("kind", None) != KIND:
        raise BadInput(f"{path} is not a decision fit: write one with `heatbath decide fit`.")
    if (schema := content.pop("schema", None)) != SCHEMA:
        raise BadInput(f"{path} has schema {schema!r}, expected {SCHEMA}: read it with the heatbath that wrote it.")
    try:
        fit = _build_fit(content)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadInput(f"{path} is a damaged decision fit ({error}): fit again.") from error
    if model is not None:
        fit.validate_model(model)
    return fit


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"there is no file {path}: write one with `heatbath decide fit`.") from error
    except ValueError as error:  # also text that is not UTF-8
        raise BadInput(f"{path} is not a decision fit ({error}): write one with `heatbath decide fit`.") from error


def _build_fit(content: dict[str, Any]) -> DecisionFit:
    question, head = dict(content.pop("question")), content.pop("head")
    question |= {name: tuple(question[name]) for name in ("labels", "descriptions")}
    arrays = ("mean", "scale", "weights", "intercepts")
    if head is not None:
        head = LabelHead(**{**head, **{name: np.array(head[name], np.float64) for name in arrays}})
    scores = {level: tuple(values) for level, values in (content.pop("held_out_scores") or {}).items()}
    offsets = tuple(map(float, content.pop("offsets")))
    fit = DecisionFit(
        question=DecisionQuestion(**question), head=head, held_out_scores=scores, offsets=offsets, **content
    )
    labels = len(fit.question.labels)
    if len(offsets) not in (0, labels) or (head is not None and len(head.weights) != labels):
        raise ValueError(f"it has numbers for other than its {labels} labels")
    return fit


def _to_builtins(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _to_builtins(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_builtins(each) for each in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
