"""Citations and triggers on FOLDOC: what acronyms stand for, asked of the default model with five passages.

The dictionary is that of the Debian package `dict-foldoc` (foldoc.dict.dz). An acronym whose entry names one expansion,
which has an entry of its own, is a question; the entry of the expansion is the passage that answers it. Prints the
tables of docs/citations.md, and writes the threshold of support that the first half of the questions gives.

apt-get download dict-foldoc && dpkg -x dict-foldoc_*.deb foldoc
python tools/citations.py foldoc/usr/share/dictd/foldoc.dict.dz --questions 60 --support support.json
"""

from __future__ import annotations

import argparse
import gzip
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import heatbath as hb
from heatbath.estimate.best_of_n import bootstrap_means
from heatbath.estimate.paired_differences import estimate_mean_difference
from heatbath.models.session_scoring import build_continuation_scorer
from heatbath.questions.graders import contains_answer
from heatbath.retrieval import IndexSettings, add_documents, open_index
from heatbath.retrieval.answer_check import build_encoder
from heatbath.retrieval.answer_units import GRANULARITIES, Granularity, locate_units
from heatbath.retrieval.evidence_prompt import EvidencePrompt
from heatbath.retrieval.markers import find_marker_spans, find_markers
from heatbath.retrieval.passage import Passage
from heatbath.retrieval.support import build_support_request, measure_support
from heatbath.retrieval.support_threshold import SupportThreshold, choose_threshold
from heatbath.trust.signals import SIGNALS, collect_evidence, compute_signal_columns

MODEL = "smollm2-135m"
NUM_DISTRACTORS = 1500
NUM_PASSAGES = 5
CHARACTERS = 200
MAX_TOKENS = 24
MAX_ERROR = 0.05
SIGNAL_NAMES = ("entropy:mean", "entropy:max", "logprob:mean", "heat_capacity:mean")
CONTRASTS = (0.5, 1.0)
NUM_CONTRASTED, NUM_TIMED = 12, 4

_ENTRY = re.compile(r"\n(?=\S)")
_EXPANSION = re.compile(r"\{([A-Za-z][\w /'-]+)\}")


@dataclass(frozen=True)
class Question:
    """An acronym, its expansion, and the name of the document that says so."""

    acronym: str
    expansion: str
    document: str

    @property
    def text(self) -> str:
        """The question as it is asked."""
        return f"What does {self.acronym} stand for?"


@dataclass
class Outcome:
    """A question with its passages and the answers with and without them.

    Attributes:
        gold: the number of the passage that answers it; 0 where it was not found.
        support: of each part (rows) by each passage, nats.
        is_right, is_right_without: the answers with and without passages have the expansion.
    """

    question: Question
    passages: tuple[Passage, ...]
    gold: int
    answer: str = ""
    tokens: Sequence[int] = ()
    written: frozenset[int] = frozenset()
    support: Any = None
    is_right: bool = False
    is_right_without: bool = False
    signals: dict[str, float] = field(default_factory=dict)

    def measured(self, threshold: float) -> frozenset[int]:
        """Return the passages that support a part of the answer."""
        best = self.support.max(0) if len(self.support) else np.zeros(len(self.passages))
        return frozenset(np.flatnonzero(best >= threshold)[: len(self.passages)] + 1)


def read_entries(path: Path) -> dict[str, str]:
    """Read the dictionary: texts by headword."""
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
        parts = _ENTRY.split(file.read())
    return {part.split("\n", 1)[0].strip(): part for part in parts if "\n" in part}


def find_questions(entries: dict[str, str]) -> list[tuple[str, str]]:
    """Return acronyms with an expansion of the same initials that has an entry of its own."""
    found = []
    for word, text in entries.items():
        match = _EXPANSION.search(text)
        if not re.fullmatch(r"[A-Z]{3,6}", word) or match is None:
            continue
        expansion = " ".join(match[1].split())
        initials = "".join(part[0] for part in re.split(r"[\s-]+", expansion) if part not in ("of", "and", "for"))
        if initials.upper() == word and expansion in entries:
            found.append((word, expansion))
    return found


def build_task(path: Path, folder: Path, count: int) -> list[Question]:
    """Write documents and their index into a folder; return the questions."""
    entries = read_entries(path)
    rng = np.random.default_rng(0)
    pairs = find_questions(entries)
    chosen = [pairs[place] for place in rng.permutation(len(pairs))[:count]]
    others = rng.permutation(sorted(entries.keys() - {word for word, _ in chosen}))[:NUM_DISTRACTORS]
    (folder / "docs").mkdir()
    names: dict[str, str] = {}
    for number, title in enumerate(dict.fromkeys([*(expansion for _, expansion in chosen), *map(str, others)])):
        names[title] = f"{number}.txt"
        text = re.sub(r"\s+", " ", re.sub(r"[{}]|<[^>]*>", "", entries[title])).strip()
        (folder / "docs" / names[title]).write_text(text[:CHARACTERS], encoding="utf-8")
    add_documents(folder / "index", [folder / "docs"], settings=IndexSettings(embedding="none"))
    return [Question(word, expansion, names[expansion]) for word, expansion in chosen]


def find_passages(folder: Path, questions: Sequence[Question]) -> list[Outcome]:
    """Search for each question."""
    index = open_index(folder / "index")
    outcomes = []
    for question in questions:
        passages = tuple(hit.passage for hit in index.search(question.text, k=NUM_PASSAGES, mode="bm25"))
        gold = [n for n, each in enumerate(passages, 1) if Path(each.document).name == question.document]
        outcomes.append(Outcome(question, passages, gold[0] if gold else 0))
    return outcomes


def generate(model: Any, prompts: Sequence[Sequence[int]], **options: Any) -> Any:
    """Answer prompts at T = 0, four at a time; yield (text, tokens, evidence for signals) of each."""
    for begin in range(0, len(prompts), 4):
        run = hb.generate(model, prompts[begin : begin + 4], temperature=0, max_tokens=MAX_TOKENS, **options)
        for text, trace, evidence in zip(run.texts, run.traces, collect_evidence(run), strict=True):
            yield text, [int(token) for token in trace.tokens], evidence


def answer_questions(model: Any, outcomes: Sequence[Outcome]) -> None:
    """Answer with and without passages, and write the signals of the answers without."""
    encode = build_encoder(model)
    with_passages = [EvidencePrompt(one.question.text, one.passages).encode(encode)[0] for one in outcomes]
    for one, (text, tokens, _) in zip(outcomes, generate(model, with_passages), strict=True):
        one.answer, one.tokens = text, tokens
        one.is_right = contains_answer(text, one.question.expansion)
        one.written = frozenset(n for marker in find_markers(text, len(one.passages)) for n in marker.numbers)
    drafts = list(generate(model, [encode(one.question.text) for one in outcomes]))
    columns = compute_signal_columns([evidence for _, _, evidence in drafts], SIGNAL_NAMES)
    for place, (one, (text, _, _)) in enumerate(zip(outcomes, drafts, strict=True)):
        one.is_right_without = contains_answer(text, one.question.expansion)
        one.signals = {n: -SIGNALS.find(n).spec.direction * float(c.value[place]) for n, c in columns.items()}


def measure(model: Any, outcomes: Sequence[Outcome], granularity: Granularity) -> float:
    """Measure the support of all answers; return the seconds it took."""
    encode, scorer, start = build_encoder(model), build_continuation_scorer(model), time.process_time()
    for one in outcomes:
        spelling = [model.token_bytes(token) for token in one.tokens]
        text = model.decode(one.tokens)
        units = locate_units(text, spelling, granularity, skipped=find_marker_spans(text))
        prompt = EvidencePrompt(one.question.text, one.passages)
        removals = [(number,) for number in range(1, len(one.passages) + 1)]
        scorer.clear_prefixes()
        if not units or not removals:
            one.support = np.zeros((0, len(removals)))
            continue
        request = build_support_request(prompt.encode(encode, removals), one.tokens, units)
        one.support = measure_support(scorer, request).nats
    return time.process_time() - start


def show_mean(values: Sequence[float]) -> str:
    """Format a mean with its bootstrap interval over questions."""
    array = np.asarray(values, np.float64)
    if not len(array):
        return "none"
    low, high = np.quantile(bootstrap_means(array[:, None], np.random.default_rng(0)), (0.025, 0.975))
    return f"{array.mean():.3f} ({low:.3f} to {high:.3f})"


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of Markdown."""
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def print_citations(outcomes: Sequence[Outcome], threshold: float) -> None:
    """Print precision and recall of citations by who says so, next to correctness."""
    ways: dict[str, Callable[[Outcome], frozenset[int]]] = {
        "written markers": lambda one: one.written,
        "measured support": lambda one: one.measured(threshold),
        "written and measured": lambda one: one.written & one.measured(threshold),
        "the top passage, always": lambda one: frozenset({1} if one.passages else ()),
    }
    right = [float(one.is_right) for one in outcomes]
    rows = []
    for name, cite in ways.items():
        cited = [(one, cite(one)) for one in outcomes]
        precision = [len(numbers & {one.gold}) / len(numbers) for one, numbers in cited if numbers]
        recall = [float(one.gold in numbers) for one, numbers in cited]
        recall_right = [float(one.gold in numbers) for one, numbers in cited if one.is_right]
        rows.append([name, show_mean(precision), show_mean(recall), show_mean(recall_right), show_mean(right)])
    print_table(["cited by", "precision", "recall", "recall of right answers", "right answers"], rows)


def print_written(outcomes: Sequence[Outcome], threshold: float) -> None:
    """Print how many written citations the support refuses, by whether they are right."""
    pairs = [(n == one.gold, n in one.measured(threshold)) for one in outcomes for n in one.written]
    rows = [
        [words, str(len(kept)), show_mean([float(not kept_one) for kept_one in kept])]
        for words, kept in (
            ("the passage that answers", [measured for is_gold, measured in pairs if is_gold]),
            ("another passage", [measured for is_gold, measured in pairs if not is_gold]),
        )
    ]
    print_table(["written citations of", "number", "share refused"], rows)


def print_triggers(outcomes: Sequence[Outcome]) -> None:
    """Print right answers by trigger; those by uncertainty and at random search for half of the questions."""
    both = np.array([[one.is_right_without, one.is_right] for one in outcomes], np.float64)
    rows = [["never", "0", show_mean(both[:, 0].tolist()), ""], ["always", "1", show_mean(both[:, 1].tolist()), ""]]
    at_random = both.mean(1)
    rows.append(["random", "0.5", show_mean(at_random.tolist()), ""])
    for name in SIGNAL_NAMES:
        order = np.argsort([-one.signals[name] for one in outcomes], kind="stable")
        chosen = np.zeros(len(outcomes), int)
        chosen[order[: len(outcomes) // 2]] = 1
        picked = both[np.arange(len(both)), chosen]
        gain = estimate_mean_difference(picked - at_random)
        shown = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        rows.append([f"`{name}`", "0.5", show_mean(picked.tolist()), shown])
    print_table(["trigger", "share searched", "right answers", "above random"], rows)


def print_contrasts(model: Any, outcomes: Sequence[Outcome]) -> None:
    """Print right answers with the contrast field at some strengths, the work of the field, and the written markers."""
    from heatbath.experts.contrast import Contrast

    encode = build_encoder(model)
    rows = [["0", show_mean([float(one.is_right) for one in outcomes]), "0"]]
    for strength in CONTRASTS:
        right, work = [], []
        for one in outcomes:
            prompt = EvidencePrompt(one.question.text, one.passages).encode(encode)[0]
            other = encode(one.question.text)
            guide = Contrast(model, other, gamma=1 + strength)
            run = hb.generate(model, [prompt], temperature=0, max_tokens=MAX_TOKENS, fields=[guide])
            right.append(float(contains_answer(run.texts[0], one.question.expansion)))
            work += [float(value) for value in run.traces[0].record["work/contrast"] if np.isfinite(value)]
        rows.append([f"{strength:g}", show_mean(right), f"{np.mean(work):.2f}" if work else "none"])
    print_table(["contrast a", "right answers", "work of the field, nats per token"], rows)


def list_null_supports(outcomes: Sequence[Outcome]) -> Iterator[float]:
    """Yield the support of each part of right answers by passages that do not have the expansion."""
    for one in outcomes:
        for number, passage in enumerate(one.passages, 1):
            if one.is_right and not contains_answer(passage.text, one.question.expansion):
                yield from (float(value) for value in one.support[:, number - 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dictionary", type=Path)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--support", type=Path)
    options = parser.parse_args()
    model = hb.load(MODEL, dtype="float32")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcomes = find_passages(folder, build_task(options.dictionary, folder, options.questions))
        answer_questions(model, outcomes)
    seconds = {each: measure(model, outcomes[:NUM_TIMED], each) for each in GRANULARITIES[1:]}
    seconds["sentence"] = measure(model, outcomes[:NUM_TIMED], "sentence")
    measure(model, outcomes[NUM_TIMED:], "sentence")
    half = len(outcomes) // 2
    threshold = choose_threshold(list(list_null_supports(outcomes[:half])), MAX_ERROR)
    null = [float(value >= threshold) for value in list_null_supports(outcomes[half:])]
    print(f"{len(outcomes)} questions, found: {show_mean([float(one.gold > 0) for one in outcomes])}")
    print(f"threshold {threshold:.2f} nats; passages without the answer that pass: {show_mean(null)}\n")
    print_citations(outcomes[half:], threshold)
    print_written(outcomes[half:], threshold)
    print_triggers(outcomes)
    print_table(["granularity", "CPU seconds per answer"], [[n, f"{s / NUM_TIMED:.2f}"] for n, s in seconds.items()])
    print_contrasts(model, outcomes[:NUM_CONTRASTED])
    if options.support:
        count = sum(1 for _ in list_null_supports(outcomes[:half]))
        SupportThreshold(threshold, MAX_ERROR, count, "sentence", model.fingerprint).save(options.support)


if __name__ == "__main__":
    main()
