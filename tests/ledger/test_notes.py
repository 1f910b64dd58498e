"""Signed notes, checkpoints, cosignatures and proof files: the examples of the specifications, and altered ones."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.errors import BadInput
from heatbath.ledger.checkpoint import Checkpoint, InclusionProof, open_checkpoint, parse_checkpoint, parse_proof
from heatbath.ledger.merkle import ProofInvalid, hash_leaf, root_of
from heatbath.ledger.signed_note import (
    COSIGNATURE,
    SignatureInvalid,
    SignedNote,
    create_signer_key,
    parse_note,
    parse_signer_key,
    parse_verifier_key,
    read_cosignature_time,
    verify_note,
)

EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
EXAMPLE_CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)


@pytest.fixture(scope="module")
def key():
    return create_signer_key("log.example/a")


@pytest.fixture(scope="module")
def witness():
    return create_signer_key("witness.example/w", kind=COSIGNATURE)


def test_the_example_of_signed_notes(key):
    note = parse_note(EXAMPLE_NOTE)
    assert str(note) == EXAMPLE_NOTE
    example = parse_verifier_key(EXAMPLE_KEY)
    assert str(example) == EXAMPLE_KEY
    assert verify_note(note, [example, key.verifier]) == [(example, note.signatures[0])]
    with pytest.raises(SignatureInvalid, match="none of the given keys"):
        verify_note(note, [key.verifier])
    with pytest.raises(SignatureInvalid, match="does not verify"):
        verify_note(SignedNote(note.text.replace("example", "exampel"), note.signatures), [example])


def test_the_example_of_a_cosigned_checkpoint():
    note = parse_note(EXAMPLE_CHECKPOINT)
    assert str(note) == EXAMPLE_CHECKPOINT
    checkpoint = parse_checkpoint(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert str(checkpoint) == note.text
    assert read_cosignature_time(note.signatures[1].signature) == 1679315147


def test_keys_are_read_as_written(key, witness):
    for each in (key, witness):
        assert str(parse_signer_key(str(each))) == str(each)
        assert parse_verifier_key(str(each.verifier)) == each.verifier
        assert str(each)[-20:] not in repr(each)


def test_a_malformed_key_is_refused_and_a_private_one_is_not_repeated(key):
    for text in ("", "log", EXAMPLE_KEY[:-4], EXAMPLE_KEY.replace("530d903a", "530d903b"), str(key)):
        with pytest.raises(BadInput):
            parse_verifier_key(text)
    for text in ("", "PRIVATE+KEY+a", EXAMPLE_KEY, str(key)[:-8]):
        with pytest.raises(BadInput) as caught:
            parse_signer_key(text)
        assert str(key)[-20:-8] not in str(caught.value)
    for name in ("", "a b", "a+b", "a\n"):
        with pytest.raises(BadInput, match="name of a key"):
            create_signer_key(name)


@pytest.mark.parametrize(
    "content",
    ["", "text\n", "text\n\n", "text\n\n— a\n", "text\n\n— a AAAA\n", "a\tb\n\n— a AAAAAAA=\n", "a\n\n- a AAAAAAA=\n"],
)
def test_text_that_is_no_note_is_refused(content):
    with pytest.raises(BadInput):
        parse_note(content)


@pytest.mark.parametrize(
    "text",
    ["", "a\n", "a\n1\n", "a\n01\n" + "A" * 43 + "=\n", "\n1\n" + "A" * 43 + "=\n", "a\n-1\n" + "A" * 43 + "=\n",
     "a\n1\n" + "A" * 42 + "==\n", "a\n1\n" + "A" * 43 + "=", "a\n1\n" + "A" * 43 + "=\n\n"],
)  # fmt: skip
def test_text_that_is_no_checkpoint_is_refused(text):
    with pytest.raises(BadInput):
        parse_checkpoint(text)


def sign_checkpoint(checkpoint, *keys, time=1_700_000_000):
    text = str(checkpoint)
    return str(SignedNote(text, tuple(each.sign(text, time=time) for each in keys)))


def test_a_checkpoint_needs_the_key_of_its_origin_and_its_quorum(key, witness):
    checkpoint = Checkpoint(key.name, 3, root_of([hash_leaf(b"a")]))
    signed = sign_checkpoint(checkpoint, key, witness)
    found = open_checkpoint(signed, [key.verifier], [witness.verifier], quorum=1)
    assert found.checkpoint == checkpoint
    assert found.witnesses == (("witness.example/w", 1_700_000_000),)
    assert open_checkpoint(signed, [key.verifier]).witnesses == ()
    for content, keys, quorum in (
        (signed, [create_signer_key(key.name).verifier], 0),
        (signed, [create_signer_key("other").verifier], 0),
        (sign_checkpoint(checkpoint, witness), [key.verifier], 0),
        (sign_checkpoint(checkpoint, key), [key.verifier], 1),
        (signed.replace("\n3\n", "\n4\n"), [key.verifier], 0),
    ):
        with pytest.raises(SignatureInvalid):
            open_checkpoint(content, keys, [witness.verifier], quorum=quorum)


@given(st.data())
def test_any_changed_character_of_a_proof_file_is_found(data):
    key = create_signer_key("log.example/a")
    leaves = [hash_leaf(bytes([i])) for i in range(5)]
    checkpoint = sign_checkpoint(Checkpoint(key.name, 5, root_of(leaves)), key)
    hashes = (leaves[3], root_of(leaves[:2]), leaves[4])
    proof = InclusionProof(2, hashes, checkpoint)
    assert parse_proof(str(proof)) == proof
    assert proof.verify(leaves[2], [key.verifier]).checkpoint.size == 5
    content = str(proof)
    place = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda each: each != content[place]))
    with pytest.raises(BadInput):
        parse_proof(content[:place] + other + content[place + 1 :]).verify(leaves[2], [key.verifier])


def test_proof_files_with_extra_data_and_malformed_ones(key):
    checkpoint = sign_checkpoint(Checkpoint(key.name, 1, hash_leaf(b"a")), key)
    proof = InclusionProof(0, (), checkpoint, b"more")
    assert parse_proof(str(proof)) == proof
    assert base64.b64encode(b"more").decode() in str(proof)
    lines = str(proof).split("\n")
    for content in (
        "",
        "\n".join(lines[1:]),
        "\n".join([lines[0], "extra ?", *lines[2:]]),
        "\n".join([lines[0], *lines[3:]]),
        "\n".join([*lines[:2], "index 00", *lines[3:]]),
        "\n".join(lines[:3]),
    ):
        with pytest.raises(BadInput):
            parse_proof(content)
    with pytest.raises(ProofInvalid):
        parse_proof("\n".join([*lines[:3], "AAAA", *lines[3:]]))
