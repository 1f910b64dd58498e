"""The measurement of what passages did to an answer, by requests to the engine that score and draw nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from heatbath.engine.base import Request, Started
from heatbath.retrieval.answer_units import locate_units
from heatbath.retrieval.citations import PassageEvidence, build_claims, list_removals
from heatbath.retrieval.evidence_prompt import Encode, EvidencePrompt
from heatbath.retrieval.markers import find_marker_spans
from heatbath.retrieval.passage_relations import PassageRelation, build_relation_requests, group_repeats
from heatbath.retrieval.support import build_support_request
from heatbath.serve.indexes import SearchResult, ServedIndexes
from heatbath.serve.openai.grounding import Grounding
from heatbath.serve.openai.outputs import ChoiceOutput, PromptOutput
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.schema.retrieval import CitationOptions

Tokens = tuple[int, ...]
MAX_SHOWN_CHARACTERS = 600


@dataclass
class EvidenceMeasurement:
    """Measures the support of the choices of one request by the passages of its prompt.

    `relations` are those of the passages, measured with the first choice.
    """

    context: RequestContext
    options: CitationOptions
    prompt: EvidencePrompt
    result: SearchResult
    encode: Encode
    indexes: ServedIndexes
    relations: list[PassageRelation] = field(default_factory=list)
    _removals: tuple[tuple[int, ...], ...] = ()
    _count: int = 0

    @property
    def threshold(self) -> float:
        """The support that counts: that of the request, else of the settings."""
        return self.options.threshold or self.indexes.threshold

    async def measure(self, output: PromptOutput) -> None:
        """Measure the grounds of all choices of a prompt."""
        if not self._removals:
            await self._relate_passages()
            self._removals = list_removals(len(self.prompt.passages), group_repeats(self.relations))
        prompts = await asyncio.to_thread(self.prompt.encode, self.encode, self._removals)
        for choice in output.choices.values():
            choice.grounding = await self._ground(choice, prompts)

    async def _relate_passages(self) -> None:
        language, passages = self.context.language, self.prompt.passages
        encoded = [language.encode(passage.text, document_start=False) for passage in passages]
        for request in build_relation_requests(passages, encoded, language.vocabulary.start_token_ids):
            self.relations += request.read(await self._score(request.prompts, request.paths))

    async def _ground(self, choice: ChoiceOutput, prompts: Sequence[Tokens]) -> Grounding | None:
        """Return the grounds of a choice; None for one without text."""
        tokens = choice.text_tokens
        spelling = [self.context.language.token_bytes(token.id) for token in tokens]
        skipped = find_marker_spans(choice.text)
        units = locate_units(choice.text, spelling, self.options.granularity, skipped=skipped)
        if not units:
            return None
        request = build_support_request(prompts, [token.id for token in tokens], units)
        support = request.read(await self._score(request.prompts, request.paths))
        evidence = PassageEvidence(self.prompt.passages, self._removals, support)
        claims = build_claims(choice.text, units, evidence, threshold=self.threshold)
        for unit in range(len(units)):
            for number in range(1, len(self.prompt.passages) + 1):
                self.indexes.counts.add_support(evidence.support_of(unit, number))
        return Grounding(
            tuple(claims),
            self.prompt.passages,
            self.result.index,
            self.result.version,
            self.threshold,
            self.options.granularity,
        )

    async def _score(self, prompts: Sequence[Tokens], paths: Sequence[Tokens]) -> Any:
        """Return log p of the paths after each prompt, (prompts, paths)."""
        self._count += 1
        request = Request(
            prompts[0],
            f"{self.context.id}/support{self._count}",
            self.context.tenant.name,
            max_tokens=0,
            record=None,
            continuations=paths,
            further_prompts=prompts[1:],
            deadline=self.context.services.settings.engine.deadline_seconds,
        )
        events = cast(Any, self.context.services.engine.submit(request))
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Started):
                    return np.array([event.continuation_logprobs, *event.further_logprobs])
        raise RuntimeError("the engine ended a request that it had not begun")

    def list_unsupported(self, output: PromptOutput) -> list[str]:
        """Return the texts of the claims that nothing supports, of all choices."""
        return [
            choice.text[claim.start : claim.end]
            for choice in output.choices.values()
            for claim in ([] if choice.grounding is None else choice.grounding.claims)
            if not claim.is_supported
        ]

    def report(self, output: PromptOutput, tenant: str) -> None:
        """Count the claims that are given, and keep their citations for the page."""
        counts = self.indexes.counts
        for choice in output.choices.values():
            for claim in [] if choice.grounding is None else choice.grounding.claims:
                counts.supported += claim.is_supported
                counts.unsupported += not claim.is_supported
                counts.refused += len(claim.refused_citations)
                counts.unknown += len(claim.unknown_references)
                for citation in claim.citations if self.context.services.settings.storage.content else ():
                    passage = self.prompt.passages[citation.number - 1]
                    shown = {
                        "claim": choice.text[claim.start : claim.end][:MAX_SHOWN_CHARACTERS],
                        "number": citation.number,
                        "support": citation.support,
                        "written": citation.is_written,
                        "supported": citation.is_supported,
                        "document": passage.document,
                        "title": passage.title,
                        "text": passage.text[:MAX_SHOWN_CHARACTERS],
                    }
                    counts.last.append((tenant, shown))
