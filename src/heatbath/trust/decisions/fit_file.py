"""The result of a fit to one question and one model, and its JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from heatbath.engine.base import ModelInfo
from heatbath.errors import BadInput
from heatbath.models.base import dtype_name
from heatbath.record.result_file import ResultFormat
from heatbath.trust.decisions.head import LabelHead
from heatbath.trust.decisions.label_tokens import Tokenizations
from heatbath.trust.decisions.levels import Level
from heatbath.trust.decisions.questions import DecisionQuestion

DECISION_FORMAT = ResultFormat("decision fit", "heatbath decide fit", "decision.json", (1,))


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
        sizes: number of texts of the pool, labeled and held out.
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
        dtype = dtype_name(model)
        if dtype != self.dtype:
            raise BadInput(
                f"the fit is for {self.model} in {self.dtype} and the model is in {dtype}: load it in {self.dtype}, "
                "or fit again."
            )

    def validate_level(self, level: Level) -> None:
        """Raise `BadInput` for a level that was not fitted."""
        if level not in self.levels:
            raise BadInput(
                f"the fit has no level {level}, only {', '.join(self.levels)}: fit it with labeled texts.",
                param="level",
            )

    def save(self, path: str | Path) -> None:
        """Write the fit to a JSON file, whole or not at all."""
        DECISION_FORMAT.save(self, Path(path))


def load_decision_fit(path: str | Path, model: ModelInfo | None = None) -> DecisionFit:
    """Read a fit from its file, or from the folder that holds it.

    Raises:
        BadInput: there is no such file, it holds something else, or another schema, or is for another model.
    """
    fit = DECISION_FORMAT.load(path, DecisionFit)
    labels, head = len(fit.question.labels), fit.head
    if len(fit.offsets) not in (0, labels) or (head is not None and len(head.weights) != labels):
        raise BadInput(
            f"{path} is a damaged decision fit (it has numbers for other than its {labels} labels): write it again "
            "with `heatbath decide fit`."
        )
    if model is not None:
        fit.validate_model(model)
    return fit
