"""Personal data in a text: candidates by a pattern, then a check of their digits or their form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

from heatbath.errors import MissingExtra
from heatbath.policy import check_digits
from heatbath.policy.normalization import Span

Finder = Callable[[str], Iterator[Span]]
_SEPARATOR = r"[ .\-\u2010-\u2013]"
_JOINT = r"[.\-\u2010-\u2013]"
_CARD_LENGTHS = range(19, 12, -1)


@dataclass(frozen=True)
class CheckedPattern:
    """A pattern whose matches count if `is_valid` accepts them in capitals, without spaces and hyphens."""

    pattern: Any
    is_valid: Callable[[str], bool]

    def __call__(self, text: str) -> Iterator[Span]:
        for match in self.pattern.finditer(text):
            if self.is_valid(_strip_separators(match[0]).upper()):
                yield match.span()


def find_cards(text: str) -> Iterator[Span]:
    """Yield the spans of payment card numbers: 13 to 19 digits, in groups of any length."""
    for run in _DIGIT_RUN.finditer(text):
        for start, end in _find_cards_in_run(run[0]):
            yield run.start() + start, run.start() + end


_DIGIT_RUN = re.compile(rf"[0-9](?:{_SEPARATOR}?[0-9]){{12,}}")


def _find_cards_in_run(run: str) -> Iterator[Span]:
    """Yield the numbers that begin and end with a group of digits; the longest at each place, without overlap."""
    places = [match.start() for match in _DIGIT.finditer(run)]
    digits = _strip_separators(run)
    ends = [place + 1 for place in places]
    first = 0
    while first <= len(places) - min(_CARD_LENGTHS):
        length = 0
        if digits[first] in "23456" and (not first or places[first] > ends[first - 1]):
            length = next((n for n in _CARD_LENGTHS if _is_card(digits, places, slice(first, first + n))), 0)
        if length:
            yield places[first], ends[first + length - 1]
        first += length or 1


_DIGIT = re.compile("[0-9]")


def _is_card(digits: str, places: list[int], part: slice) -> bool:
    last = part.stop - 1
    is_group_end = last + 1 == len(places) or (last < len(places) and places[last + 1] > places[last] + 1)
    return is_group_end and check_digits.is_card_number(digits[part])


def find_ibans(text: str) -> Iterator[Span]:
    """Yield the spans of international bank account numbers, also in groups."""
    for start in _IBAN_START.finditer(text):
        length = check_digits.IBAN_LENGTHS.get(start[0][:2].upper())
        match = length and _iban_pattern(length).match(text, start.start())
        if match and check_digits.is_iban(_strip_separators(match[0]).upper()):
            yield match.span()


_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}")


@cache
def _iban_pattern(length: int) -> Any:
    return re.compile(rf"[A-Za-z0-9](?:[ \-]?[A-Za-z0-9]){{{length - 1}}}(?![A-Za-z0-9])")


def find_addresses(text: str) -> Iterator[Span]:
    """Yield the spans of IPv4 and IPv6 addresses."""
    patterns = (_IPV4, _IPV6) if ":" in text else (_IPV4,)
    for match in (match for pattern in patterns for match in pattern.finditer(text)):
        try:
            address = ip_address(match[0])
        except ValueError:
            continue
        if int(address):  # the address :: stands for none, and is an operator too
            yield match.span()


_IPV4 = re.compile(r"(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?!\.?\w)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{0,40}[0-9A-Fa-f:](?![\w:])")


def find_telephones(text: str, region: str | None) -> Iterator[Span]:
    """Yield the spans of telephone numbers that exist as a form; without a region only those that begin with +."""
    try:
        from phonenumbers import PhoneNumberMatcher
    except ImportError as error:
        raise MissingExtra("finding telephone numbers", "policy") from error
    if region is None and "+" not in text:
        return
    for match in PhoneNumberMatcher(text, region):
        number = match.raw_string
        # The library takes a bracket in front of a number to it, though it is closed after the number.
        yield match.start + (number[0] == "(" and number.count("(") > number.count(")")), match.end


def _is_swedish_number(text: str) -> bool:
    return check_digits.is_se_personnummer(text.replace("+", "")[-10:])


def _pattern(body: str, is_valid: Callable[[str], bool]) -> CheckedPattern:
    """Return a pattern that does not begin or end within a word or a longer number."""
    bounded = rf"(?<!\w)(?<![0-9]{_JOINT})(?:{body})(?!{_JOINT}[0-9])(?!\w)"
    return CheckedPattern(re.compile(bounded, re.IGNORECASE), is_valid)


def _digits(is_valid: Callable[[str], bool], *groups: int) -> CheckedPattern:
    """Return the pattern of a number in groups of digits, which separators may stand between."""
    return _pattern(rf"{_SEPARATOR}?".join(f"[0-9]{{{group}}}" for group in groups), is_valid)


def _strip_separators(text: str) -> str:
    return text.translate(_REMOVE_SEPARATORS)


_REMOVE_SEPARATORS = dict.fromkeys(map(ord, " .-/\u2010\u2011\u2012\u2013"))
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9_%+\-][A-Za-z0-9._%+\-]{0,63}"
    r"@(?:[A-Za-z0-9][A-Za-z0-9\-]{0,62}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])"
)

DETECTORS: Mapping[str, Finder] = MappingProxyType(
    {
        "email": CheckedPattern(_EMAIL, lambda _: True),
        "phone": lambda text: find_telephones(text, None),
        "card": find_cards,
        "iban": find_ibans,
        "ip": find_addresses,
        "us_ssn": _pattern(r"[0-9]{3}([ \-])[0-9]{2}\1[0-9]{4}", check_digits.is_us_ssn),
        "gb_nhs": _digits(check_digits.is_gb_nhs, 3, 3, 4),
        "nl_bsn": _digits(check_digits.is_nl_bsn, 3, 3, 3),
        "br_cpf": _digits(check_digits.is_br_cpf, 3, 3, 3, 2),
        "pl_pesel": _digits(check_digits.is_pl_pesel, 11),
        "se_personnummer": _pattern(r"(?:[0-9]{2})?[0-9]{6}[\-+]?[0-9]{4}", _is_swedish_number),
        "in_aadhaar": _digits(check_digits.is_in_aadhaar, 4, 4, 4),
        "de_tax_id": _digits(check_digits.is_de_tax_id, 2, 3, 3, 3),
        "fr_nir": _pattern(
            r"[1-478] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}", check_digits.is_fr_nir
        ),
        "es_dni": _pattern(rf"(?:[0-9]{{8}}|[XYZ]{_SEPARATOR}?[0-9]{{7}}){_SEPARATOR}?[A-Z]", check_digits.is_es_dni),
    }
)
"""The kinds of personal data, each with the function that finds it."""
