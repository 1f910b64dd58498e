"""The check of an answer that exists already: its claims, and what each passage did to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heatbath.models.base import Model, encode_chat, has_chat_template
from heatbath.models.continuations import ContinuationScorer
from heatbath.models.session_scoring import build_continuation_scorer
from heatbath.retrieval.answer_units import Granularity, locate_units
from heatbath.retrieval.citations import DEFAULT_THRESHOLD, Claim, PassageEvidence, build_claims, list_removals
from heatbath.retrieval.evidence_prompt import Encode, EvidencePrompt
from heatbath.retrieval.markers import find_marker_spans
from heatbath.retrieval.passage import Passage
from heatbath.retrieval.passage_relations import (
    PassageRelation,
    build_relation_requests,
    group_repeats,
    measure_relations,
)
from heatbath.retrieval.support import build_support_request, measure_support


@dataclass(frozen=True)
class CheckedAnswer:
    """An answer with its claims, and the passages that repeat or contradict one another."""

    claims: tuple[Claim, ...]
    relations: tuple[PassageRelation, ...]


def check_answer(
    model: Model,
    prompt: EvidencePrompt,
    answer: str,
    *,
    granularity: Granularity = "sentence",
    threshold: float = DEFAULT_THRESHOLD,
) -> CheckedAnswer:
    """Measure the support of an answer by the passages of a prompt, as a server does for one that it generated.

    The prompt is a turn of a chat for a model with a template, else a plain text.

    Raises:
        BadInput: an answer without text, or a prompt that is longer than the context.
    """
    scorer = build_continuation_scorer(model)
    relations = relate_passages(model, scorer, prompt.passages)
    removals = list_removals(len(prompt.passages), group_repeats(relations))
    tokens = model.encode(answer, document_start=False)
    spelling = [model.token_bytes(token) for token in tokens]
    units = locate_units(answer, spelling, granularity, skipped=find_marker_spans(answer))
    request = build_support_request(prompt.encode(build_encoder(model), removals), tokens, units)
    scorer.clear_prefixes()
    support = measure_support(scorer, request)
    evidence = PassageEvidence(prompt.passages, removals, support)
    return CheckedAnswer(tuple(build_claims(answer, units, evidence, threshold=threshold)), tuple(relations))


def relate_passages(model: Model, scorer: ContinuationScorer, passages: Sequence[Passage]) -> list[PassageRelation]:
    """Return the passages that repeat or contradict one another."""
    encoded = [model.encode(passage.text, document_start=False) for passage in passages]
    return measure_relations(scorer, build_relation_requests(passages, encoded, model.vocabulary.start_token_ids))


def build_encoder(model: Model) -> Encode:
    """Return the function from the text of a prompt to its tokens: one turn of a chat where there is a template."""
    if has_chat_template(model):
        return lambda text: encode_chat(model, [{"role": "user", "content": text}])
    return model.encode
