"""Support by leave-one-out: against enumeration by hand, and against separate passes of an untouched transformer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from heatbath.engine.base import Request, Started
from heatbath.engine.local import EngineConfig, LocalEngine, continuation_scoring
from heatbath.errors import BadInput
from heatbath.models.base import Model
from heatbath.models.exact.urn import UrnModel
from heatbath.models.hf import tree_scoring
from heatbath.models.hf.transformers_model import TransformersModel
from heatbath.retrieval.answer_units import AnswerUnit
from heatbath.retrieval.support import Floats, SupportRequest, build_support_request, measure_support

UNITS = [AnswerUnit(0, 1, ((0, 3),)), AnswerUnit(1, 2, ((3, 4),)), AnswerUnit(2, 3, ((4, 6), (7, 9)))]


def leave_one_out(head: list[int], documents: Sequence[list[int]], tail: list[int]) -> list[list[int]]:
    """The prompt, and those without one document, as concatenations."""
    prompts = []
    for left_out in (None, *range(len(documents))):
        kept = [token for number, each in enumerate(documents) if number != left_out for token in each]
        prompts.append([*head, *kept, *tail])
    return prompts


def random_request(size: int, *, lengths: Sequence[int], seed: int = 0) -> SupportRequest:
    rng = np.random.default_rng(seed)

    def draw(count: int) -> list[int]:
        return [int(token) for token in rng.integers(1, size - 1, count)]

    prompts = leave_one_out(draw(7), [draw(length) for length in lengths], draw(5))
    return build_support_request(prompts, draw(9), UNITS)


def urn_logprob(prompt: Sequence[int], tokens: Sequence[int]) -> float:
    """log p of tokens after a prompt, from the definition of the urn."""
    spins, total = [2 * token - 1 for token in prompt], 0.0
    for token in tokens:
        field = np.mean(spins) if spins else 0.0
        spin = 2 * token - 1
        total += field * spin - np.logaddexp(field, -field)
        spins.append(spin)
    return float(total)


def test_support_of_an_exact_model_is_that_of_its_definition() -> None:
    answer = [1, 1, 0, 1]
    prompts = leave_one_out([0, 1], [[1, 1, 1], [0, 0], [1]], [0])
    units = [AnswerUnit(0, 1, ((0, 2),)), AnswerUnit(1, 2, ((2, 4),))]
    support = measure_support(UrnModel(), build_support_request(prompts, answer, units))
    for column, prompt in enumerate(prompts[1:]):
        first = urn_logprob(prompts[0], answer[:2]) - urn_logprob(prompt, answer[:2])
        second = urn_logprob([*prompts[0], 1, 1], [0, 1]) - urn_logprob([*prompt, 1, 1], [0, 1])
        assert support.nats[:, column] == pytest.approx([first, second], abs=1e-12)
    assert support.nats[0, 0] > 0 > support.nats[0, 1], "ones are supported by ones"
    assert support.logprobs.sum() == pytest.approx(urn_logprob(prompts[0], answer), abs=1e-12)


def separate_passes(model: TransformersModel, request: SupportRequest) -> Floats:
    """The support from one whole forward pass of the module for each prompt, without cache or mask."""
    rows = []
    for prompt in request.prompts:
        answer = request.paths[-1]
        with torch.inference_mode():
            logits = model.network.module(torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0].double()
        logprobs = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)[range(len(answer)), answer].numpy()
        rows.append([sum(logprobs[begin:end].sum() for begin, end in runs) for runs in request.spans])
    found = np.array(rows)
    return (found[0] - found[1:]).T


@pytest.mark.parametrize("lengths", [(20, 3, 40, 11, 5, 5, 30, 8), (200, 150), (9,)])
def test_shared_prefixes_change_nothing(tiny: TransformersModel, lengths: Sequence[int]) -> None:
    request = random_request(60, lengths=lengths)
    support = measure_support(tiny, request)
    assert support.nats == pytest.approx(separate_passes(tiny, request), abs=1e-4)
    assert np.abs(support.nats).max() > 0.01, "the documents have an effect"


def test_a_prompt_beyond_a_pass_is_read_in_pieces_by_the_engine(
    tiny: TransformersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuation_scoring, "PROMPT_POSITIONS", 32)
    monkeypatch.setattr(tree_scoring, "MAX_ROW_POSITIONS", 48)
    request = random_request(60, lengths=(40, 30, 50, 20))
    support = asyncio.run(measure_by_engine(tiny, request))
    assert support == pytest.approx(separate_passes(tiny, request), abs=1e-4)


async def measure_by_engine(model: Model, request: SupportRequest) -> Any:
    engine = LocalEngine(model, config=EngineConfig(warm_up=False))
    await engine.start()
    try:
        first, *rest = request.prompts
        wanted = Request(first, "id", max_tokens=0, record=None, continuations=request.paths, further_prompts=rest)
        events = [event async for event in engine.submit(wanted)]
    finally:
        await engine.close()
    started = events[0]
    assert isinstance(started, Started)
    return request.read(np.array([started.continuation_logprobs, *started.further_logprobs])).nats


def test_an_engine_of_an_exact_model_gives_the_same() -> None:
    request = build_support_request(leave_one_out([0, 1], [[1, 1, 1], [0, 0]], [0]), [1] * 9, UNITS)
    assert asyncio.run(measure_by_engine(UrnModel(), request)) == pytest.approx(
        measure_support(UrnModel(), request).nats, abs=1e-12
    )


def test_what_was_read_is_not_read_again(tiny: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight equal documents 36 are evaluated, not 64: those up to one that is left out are shared."""
    count = 0
    forward = tree_scoring.TreeScorer._run_rows

    def run(self: Any, rows: Any) -> Any:
        nonlocal count
        count += sum(map(len, rows))
        return forward(self, rows)

    request = random_request(60, lengths=(100,) * 8)
    scorer = tree_scoring.TreeScorer(tiny, None)  # type: ignore[arg-type]
    monkeypatch.setattr(tree_scoring.TreeScorer, "_run_rows", run)
    measure_support(scorer, request)
    # The head, 8 documents once, 28 again; with each prompt its tail and the answer but for its last token.
    assert count <= 7 + 36 * 100 + 9 * (5 + 8) + 8


def hide_span(model: TransformersModel, prompt: Sequence[int], answer: Sequence[int], span: tuple[int, int]) -> Any:
    """log p of an answer in one pass whose last positions, from the question on, do not see a span."""
    tokens = [*prompt, *answer]
    visible = torch.tril(torch.ones(len(tokens), len(tokens), dtype=torch.bool))
    visible[len(prompt) - 5 :, span[0] : span[1]] = False
    mask = torch.where(visible, 0.0, torch.finfo(torch.float32).min)[None, None]
    with torch.inference_mode():
        logits = model.network.module(torch.tensor([tokens]), attention_mask=mask, use_cache=False).logits[0].double()
    return torch.log_softmax(logits[len(prompt) - 1 : -1], -1)[range(len(answer)), list(answer)].numpy()


def test_the_masked_method_hides_a_document_from_the_question_and_the_answer(tiny: TransformersModel) -> None:
    request = random_request(60, lengths=(20, 30, 25))
    answer, whole = request.paths[-1], request.prompts[0]
    found = measure_support(tiny, request, method="masked").nats
    alone = hide_span(tiny, whole, answer, (0, 0))
    for document, span in enumerate([(7, 27), (27, 57), (57, 82)]):
        drop = alone - hide_span(tiny, whole, answer, span)
        expected = [sum(drop[begin:end].sum() for begin, end in runs) for runs in request.spans]
        assert found[:, document] == pytest.approx(expected, abs=1e-4)
    exact = measure_support(tiny, request).nats
    assert np.abs(found[:, :2] - exact[:, :2]).max() > 1e-3, "later documents have read the first two"
    with pytest.raises(BadInput, match="exact"):
        measure_support(UrnModel(), build_support_request([[0, 1, 1], [0, 1]], [1] * 9, UNITS), method="masked")
    apart = build_support_request([[1, 2, 3, 4, 5], [2, 3, 4]], [1] * 9, UNITS)
    with pytest.raises(BadInput, match="removed together"):
        measure_support(tiny, apart, method="masked")


def test_an_answer_without_parts_is_refused() -> None:
    with pytest.raises(BadInput, match="no parts"):
        build_support_request([[0], [1]], [1], [])


def test_an_impossible_part_has_infinite_support() -> None:
    request = SupportRequest(((0,), (1,), (2,)), ((1,),), (((0, 1),),))
    support = request.read(np.array([[-1.0], [-np.inf], [-1.5]]))
    assert support.nats.tolist() == [[np.inf, 0.5]]
    assert request.read(np.array([[-np.inf], [-np.inf], [-1.0]])).nats.tolist() == [[0.0, -np.inf]]
