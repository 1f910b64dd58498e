"""Personal data: forms that are found, and near misses that are left alone."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.policy.check_digits import IBAN_LENGTHS, has_luhn_digit, is_iban
from heatbath.policy.personal_data import DETECTORS, find_telephones

# Numbers that authorities and networks publish as examples.
FOUND = {
    "email": ["a.b+c@mail.example.co.uk", "x_1@example.org"],
    "phone": ["+44 20 7946 0958", "+1 (415) 555-2671", "+49 30 901820"],
    "card": [
        "4111 1111 1111 1111",
        "5500005555555559",
        "3782-822463-10005",
        "6011000990139424",
        "3530111333300000",
        "30569309025904",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "2223003122003222",
        "4222222222222",
    ],
    "iban": [
        "DE89 3704 0044 0532 0130 00",
        "gb82west12345698765432",
        "FR1420041010050500013M02606",
        "NO93-8601-1117-947",
    ],
    "ip": ["192.168.0.1", "2001:db8::ff00:42:8329", "::1", "fe80::1"],
    "us_ssn": ["219-09-9999", "078 05 1120"],
    "gb_nhs": ["943 476 5919", "9434765919"],
    "nl_bsn": ["111222333", "123456782"],
    "br_cpf": ["390.533.447-05", "39053344705"],
    "pl_pesel": ["44051401359", "02070803628"],
    "se_personnummer": ["811228-9874", "19811228-9874", "670919-9530"],
    "in_aadhaar": ["2341 2341 2346"],
    "de_tax_id": ["36 574 261 809", "36574261809"],
    "fr_nir": ["2 95 10 99 126 111 93", "295109912611193"],
    "es_dni": ["54362315K", "54362315-k", "X-2482300-W"],
}
LEFT_ALONE = {
    "email": ["a @ b.c", "me@localhost", "@example.org", "a@b"],
    "phone": ["+44 20", "20 7946 0958", "+1 234"],
    "card": [
        "4111 1111 1111 1112",
        "411111111111",
        "0000 0000 0000 0000",
        "x4111111111111111000000",
        "1234567812345670",
    ],
    "iban": ["DE89 3704 0044 0532 0130 01", "ZZ89370400440532013000", "DE89 3704", "DE893704004405320130005"],
    "ip": ["256.1.1.1", "1.2.3", "1.2.3.4.5", "12:30:45", "::", "a::b::c", "std::vector"],
    "us_ssn": ["000-12-3456", "666-12-3456", "912-12-3456", "123-00-4567", "123-45-0000", "219099999", "219-09 9999"],
    "gb_nhs": ["943 476 5918", "0000000000"],
    "nl_bsn": ["111222334", "000000000"],
    "br_cpf": ["390.533.447-06", "111.111.111-11"],
    "pl_pesel": ["44051401358", "44131401350"],
    "se_personnummer": ["811228-9875", "811328-9873"],
    "in_aadhaar": ["2341 2341 2347", "1234 5678 9012"],
    "de_tax_id": ["36 574 261 808", "12345678901"],
    "fr_nir": ["2 95 10 99 126 111 94"],
    "es_dni": ["54362315A", "X-2482300-A"],
}


def found(kind, text):
    return [text[start:end] for start, end in DETECTORS[kind](text)]


@pytest.mark.parametrize("kind", DETECTORS)
def test_what_is_found_and_what_is_left_alone(kind):
    for example in FOUND[kind]:
        for text in (example, f"It is {example}.", f"({example}), 7 times", f"a {example}\n{example} b"):
            assert found(kind, text) == [example] * text.count(example), text
    for text in LEFT_ALONE[kind]:
        assert found(kind, f"It is {text}!") == [], text


def test_a_telephone_number_of_a_country():
    text = "Call (415) 555-2671 or 020 7946 0958."
    assert [text[a:b] for a, b in find_telephones(text, "US")] == ["(415) 555-2671"]
    assert [text[a:b] for a, b in find_telephones(text, "GB")] == ["020 7946 0958"]
    assert list(find_telephones(text, None)) == []


@given(st.text("0123456789", min_size=1, max_size=19), st.integers(0, 18), st.integers(1, 9))
def test_luhn_finds_every_wrong_digit(digits, place, change):
    (valid,) = [digits + last for last in "0123456789" if has_luhn_digit(digits + last)]
    place %= len(valid)
    wrong = valid[:place] + str((int(valid[place]) + change) % 10) + valid[place + 1 :]
    assert not has_luhn_digit(wrong)


def test_iban_finds_wrong_digits_and_exchanged_ones():
    rng = random.Random(0)
    for country, length in IBAN_LENGTHS.items():
        account = "".join(rng.choices("0123456789", k=length - 4))
        (check,) = [f"{n:02}" for n in range(2, 99) if is_iban(f"{country}{n:02}{account}")]
        for place in range(4, length):
            valid = country + check + account
            wrong = valid[:place] + str((int(valid[place]) + 1) % 10) + valid[place + 1 :]
            assert not is_iban(wrong)
            swapped = valid[:place] + valid[place : place + 2][::-1] + valid[place + 2 :]
            assert swapped == valid or not is_iban(swapped)


@pytest.mark.parametrize("part", ["1 ", "1234567890", "DE89 ", "a@", "a.", "1:", "4 1 1 1 ", "+44 "])
def test_a_long_text_takes_linear_time(part):
    # A quadratic step over this many characters would take minutes.
    for kind, finder in DETECTORS.items():
        if kind != "phone":
            assert sum(1 for _ in finder(part * (10**5 // len(part)))) < 10**5
