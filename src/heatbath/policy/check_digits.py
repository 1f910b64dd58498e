"""Check digits of card numbers, bank accounts and national identity numbers."""

from __future__ import annotations

from datetime import date

_VERHOEFF_PRODUCTS = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_PERMUTATIONS = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip

_DOUBLED_DIGITS = str.maketrans("0123456789", "0246813579")

_LENGTHS = """
AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 DE:22
DJ:27 DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HN:28
HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25
MC:27 MD:24 ME:22 MK:19 MN:20 MR:27 MT:31 MU:30 NI:28 NL:18 NO:15 OM:23 PK:24 PL:28 PS:29 PT:25 QA:29
RO:24 RS:22 RU:33 SA:24 SC:31 SD:18 SE:24 SI:19 SK:24 SM:27 SO:23 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29
VA:22 VG:24 XK:20 YE:30
"""
IBAN_LENGTHS = {country: int(length) for country, length in (entry.split(":") for entry in _LENGTHS.split())}
"""Characters of an IBAN by country, from the register of SWIFT."""


def has_luhn_digit(digits: str) -> bool:
    """Return True if the last of the digits is the check digit of Luhn's formula."""
    doubled = digits[-2::-2].translate(_DOUBLED_DIGITS)
    return sum(map(int, digits[-1::-2] + doubled)) % 10 == 0


def is_card_number(digits: str) -> bool:
    """Return True for the digits of a payment card: prefix and length of a network, and the check digit."""
    return _has_card_prefix(digits) and len(set(digits)) > 1 and has_luhn_digit(digits)


def _has_card_prefix(digits: str) -> bool:
    length, four = len(digits), int(digits[:4])
    if digits[0] == "4":
        return length in (13, 16, 19)
    if 51 <= four // 100 <= 55 or 2221 <= four <= 2720:
        return length == 16
    if four // 100 in (34, 37):
        return length == 15
    if four // 100 in (36, 38, 39) or 3000 <= four <= 3059:
        return 14 <= length <= 19
    discover = four == 6011 or four // 100 == 65 or 6440 <= four <= 6499
    return (discover or 3528 <= four <= 3589 or four // 100 == 62) and 16 <= length <= 19


def is_iban(text: str) -> bool:
    """Return True for an IBAN in capitals without spaces: length of the country, and remainder 1 modulo 97."""
    if len(text) != IBAN_LENGTHS.get(text[:2]) or not (text.isascii() and text.isalnum()):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def is_us_ssn(digits: str) -> bool:
    """Return True for a number that the US Social Security Administration may assign; there is no check digit."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"


def is_gb_nhs(digits: str) -> bool:
    """Return True for a number of the British National Health Service, modulus 11."""
    return _weighted_sum(digits, range(10, 0, -1)) % 11 == 0 and len(set(digits)) > 1


def is_nl_bsn(digits: str) -> bool:
    """Return True for a Dutch citizen service number, modulus 11."""
    return _weighted_sum(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and len(set(digits)) > 1


def is_br_cpf(digits: str) -> bool:
    """Return True for a Brazilian taxpayer number, two check digits modulo 11."""
    first = _weighted_sum(digits[:9], range(10, 1, -1)) * 10 % 11 % 10
    second = _weighted_sum(digits[:10], range(11, 1, -1)) * 10 % 11 % 10
    return digits[9:] == f"{first}{second}" and len(set(digits)) > 1


def is_pl_pesel(digits: str) -> bool:
    """Return True for a Polish identity number: a date of birth, and a check digit modulo 10."""
    month = int(digits[2:4])
    century = (1900, 2000, 2100, 2200, 1800)[month // 20]
    is_date = _is_date(century + int(digits[:2]), month % 20, int(digits[4:6]))
    return is_date and _weighted_sum(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def is_se_personnummer(digits: str) -> bool:
    """Return True for a Swedish identity number: a date of birth, and Luhn's check digit."""
    day = int(digits[4:6])
    is_date = _is_date(2000 + int(digits[:2]), int(digits[2:4]), day - 60 * (day > 60))
    return is_date and has_luhn_digit(digits)


def is_in_aadhaar(digits: str) -> bool:
    """Return True for an Indian identity number, whose check digit is Verhoeff's."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF_PRODUCTS[check][int(_VERHOEFF_PERMUTATIONS[place % 8][int(digit)])])
    return check == 0 and digits[0] not in "01" and digits != digits[::-1]


def is_de_tax_id(digits: str) -> bool:
    """Return True for a German tax identification number: one digit occurs twice or thrice, ISO 7064 modulo 11, 10."""
    counts = sorted((digits[:10].count(digit) for digit in set(digits[:10])), reverse=True)
    if digits[0] == "0" or counts[0] not in (2, 3) or counts[1] != 1:
        return False
    check = 10
    for digit in digits[:10]:
        check = ((check + int(digit)) % 10 or 10) * 2 % 11
    return int(digits[10]) == (11 - check) % 10


def is_fr_nir(text: str) -> bool:
    """Return True for a French social security number in capitals, modulo 97."""
    number = text[:13].replace("2A", "19").replace("2B", "18")
    return text[0] in "1234578" and int(text[13:]) == 97 - int(number) % 97


def is_es_dni(text: str) -> bool:
    """Return True for a Spanish identity number in capitals, of citizens or foreigners, by its letter."""
    digits = "XYZ".find(text[0])
    number = text[:-1] if digits < 0 else f"{digits}{text[1:-1]}"
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def _weighted_sum(digits: str, weights: range | tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True
