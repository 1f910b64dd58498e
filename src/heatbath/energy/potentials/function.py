"""A potential from any Python function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from heatbath.energy.base import Context, Potential
from heatbath.energy.potentials.completion_text import DecodeFunction, Floats, completion_texts, validate_energies
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput, HeatbathError
from heatbath.user_functions import import_function


class FunctionPotential(Potential):
    """Energies returned by `function`, in nats, (B,): of the text of a completion with `decode`, else of its tokens.

    The function must depend only on its argument. Set `scores_prefixes` if it is defined on prefixes too and never
    returns +inf for one that may still become an allowed completion.

    Raises:
        BadInput: the function raised (its error is the cause), or returned -inf or no number; names the row.
        NotANumber: the function returned NaN; names the row.
    """

    def __init__(
        self,
        function: Callable[[Any], float],
        name: str,
        *,
        decode: DecodeFunction | None = None,
        scores_prefixes: bool = False,
    ) -> None:
        self.function = function
        self.name = name
        self.scores_prefixes = scores_prefixes
        self._decode = decode

    def __call__(self, context: Context) -> Floats:
        rows = range(len(context))
        arguments: list[Any] = [list(context.completion(row)) for row in rows]
        if self._decode is not None:
            arguments = completion_texts(context, self._decode)
        return validate_energies(
            [self._evaluate_row(arguments[row], context.row_id(row)) for row in rows], context, self.name
        )

    def _evaluate_row(self, argument: Any, row: int) -> float:
        try:
            return float(self.function(argument))
        except HeatbathError:
            raise
        except Exception as error:
            error_type = type(error).__name__
            raise BadInput(f"potential {self.name!r} raised {error_type} on row {row}: {error}") from error


def _build_function(context: BuildContext, path: str, *, scores_prefixes: bool = False) -> Potential:
    function, name = import_function(path), path.partition(":")[2]
    return FunctionPotential(function, name, decode=context.model.decode, scores_prefixes=scores_prefixes)


# It runs code by name, which no request may ask for.
SPEC = Spec("function", "potential", _build_function, "module:function", order=70, offered=False)
