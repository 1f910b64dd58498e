"""A model as the grader of answers: it is asked whether an answer says the same as the accepted ones."""

from __future__ import annotations

from collections.abc import Callable

from heatbath.engine import measure
from heatbath.errors import BadInput
from heatbath.models.base import Model, encode_chat
from heatbath.questions.prompt_tokens import has_chat_template

Judge = Callable[[str, str, str], bool]
"""Maps prompt, accepted answers in words, and text to true if the text is right."""

VERDICTS = ("Yes", "No")
_TEXT = (
    "Question: {question}\nAccepted answer: {accepted}\nGiven answer: {answer}\n"
    "Does the given answer say the same as the accepted one? Answer Yes or No."
)


def build_model_judge(model: Model) -> Judge:
    """Return a judge that compares the probabilities of "Yes" and "No" in a model, without sampling.

    A judge errs too: read the answers of the report before its labels are trusted, and grade some of them by hand.

    Raises:
        BadInput: both words are the same tokens for the model.
    """
    right, wrong = (model.encode(word, document_start=False) for word in VERDICTS)
    # The first token that differs decides: whole words of different lengths would favour the shorter one.
    shared = next((k for k, pair in enumerate(zip(right, wrong, strict=False)) if pair[0] != pair[1]), None)
    if shared is None:
        raise BadInput(f"{model.name} cannot tell Yes from No: give another model as the judge.")
    is_chat = has_chat_template(model)

    def judge(question: str, accepted: str, answer: str) -> bool:
        text = _TEXT.format(question=question, accepted=accepted, answer=answer.strip() or "(none)")
        messages = [{"role": "user", "content": text}]
        prompt = encode_chat(model, messages) if is_chat else model.encode(f"{text}\nAnswer: ")
        yes, no = (measure(model, [*prompt, *tokens[: shared + 1]]).record["logprob"][-1] for tokens in (right, wrong))
        return bool(yes > no)

    return judge
