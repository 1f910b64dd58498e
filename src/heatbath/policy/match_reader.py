"""Matches of a rule, from the nodes of a YAML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import regex

from heatbath.errors import BadInput
from heatbath.policy.normalization import normalize_phrase
from heatbath.policy.personal_data import DETECTORS
from heatbath.policy.rule import (
    ClassifierMatch,
    EmbeddingMatch,
    FunctionMatch,
    Match,
    PersonalDataMatch,
    PhraseMatch,
    RegexMatch,
    ScoreRange,
    TokenMatch,
)
from heatbath.policy.yaml_nodes import YamlSection, YamlValue
from heatbath.user_functions import import_function

CLASSIFIERS: Mapping[str, tuple[float, float]] = MappingProxyType({"safety": (0.0, 1.0), "sentiment": (-1.0, 1.0)})
"""Classifiers by name, with the range of their scores."""


def read_matches(place: YamlValue, has_energy: bool) -> tuple[Match, ...]:
    """Return what a rule matches; with an energy, phrases match within words too."""
    section = place.section()
    found: list[Match] = [*_read_phrases(section, has_energy), *_read_patterns(section)]
    for name, read in _READERS.items():
        value = section.take(name)
        found += [] if value is None else read(value, section)
    section.take("region")
    section.finish()
    if not found:
        raise place.error("the rule matches nothing: give phrases, a regex, personal_data or another kind of match.")
    return tuple(found)


def _read_phrases(section: YamlSection, has_energy: bool) -> list[Match]:
    value = section.take("phrases")
    whole = None if has_energy else section.take("whole_words")
    if value is None:
        if whole is not None:
            raise whole.error("`whole_words` is for phrases: leave it out.")
        return []
    for each in value.items():
        if not normalize_phrase(each.text()):
            raise each.error("the phrase has no visible character: give a text.")
    return [PhraseMatch(value.texts(), whole is None or whole.boolean())]


def _read_patterns(section: YamlSection) -> list[Match]:
    value, case = section.take("regex"), section.take("ignore_case")
    if value is None:
        if case is not None:
            raise case.error("`ignore_case` is for a regex, phrases match in any case: leave it out.")
        return []
    ignore_case = case is None or case.boolean()
    return [RegexMatch(_validate_pattern(each), ignore_case) for each in value.items()]


def _validate_pattern(value: YamlValue) -> str:
    pattern = value.text()
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise value.error(f"the pattern {pattern!r:.60} is not a valid regular expression: {error}.") from None
    return pattern


def _read_personal_data(value: YamlValue, section: YamlSection) -> list[Match]:
    kinds = tuple(each.choice(tuple(DETECTORS)) for each in value.items())
    region = section.take("region")
    if region is not None and not (len(region.text()) == 2 and region.text().isupper()):
        raise region.error("`region` must be a country code of two capital letters, such as GB.")
    return [PersonalDataMatch(kinds, region.text() if region is not None else None)]


def _read_classifier(value: YamlValue, _: YamlSection) -> list[Match]:
    section = value.section()
    name = section.require("name", f"one of {', '.join(CLASSIFIERS)}").choice(tuple(CLASSIFIERS))
    scores = _read_scores(section, *CLASSIFIERS[name])
    section.finish()
    if scores is None:
        raise value.error(f"the classifier {name} needs a bound: add above or below.")
    return [ClassifierMatch(name, scores)]


def _read_embedding(value: YamlValue, _: YamlSection) -> list[Match]:
    section = value.section()
    texts = section.require("texts", "texts to be near to").texts()
    above = section.require("above", "above: 0.6, a cosine").number(-1.0, 1.0)
    section.finish()
    return [EmbeddingMatch(texts, above)]


def _read_function(value: YamlValue, _: YamlSection) -> list[Match]:
    section = value.section() if value.is_section else None
    place = value if section is None else section.require("path", "path: module:function")
    scores = None if section is None else _read_scores(section)
    if section is not None:
        section.finish()
    try:
        return [FunctionMatch(place.text(), import_function(place.text()), scores)]
    except BadInput as error:
        raise place.error(str(error)) from error


def _read_scores(section: YamlSection, low: float = float("-inf"), high: float = float("inf")) -> ScoreRange | None:
    above, below = section.take("above"), section.take("below")
    if above is not None and below is not None:
        raise below.error("`above` and `below` are both given: leave one.")
    if above is not None:
        return ScoreRange(above.number(low, high))
    return None if below is None else ScoreRange(below.number(low, high), is_upper=True)


def _read_tokens(value: YamlValue, _: YamlSection) -> list[Match]:
    return [TokenMatch(tuple(_read_token(each) for each in value.items()))]


def _read_token(value: YamlValue) -> str | int:
    """Return a token: a number that is not quoted is its id."""
    return int(value.text()) if value.node.tag.endswith(":int") and value.text().isdigit() else value.text()


_READERS: Mapping[str, Callable[[YamlValue, YamlSection], list[Match]]] = MappingProxyType(
    {
        "personal_data": _read_personal_data,
        "classifier": _read_classifier,
        "embedding": _read_embedding,
        "function": _read_function,
        "tokens": _read_tokens,
    }
)
