"""Mistakes in a file of rules, each reported with its line."""

import pytest

from heatbath.errors import BadInput
from heatbath.policy import load_policy

RULE = "rules:\n  - id: a\n    effect: {effect}\n    match: {match}\n    {more}\n"


def error(tmp_path, content):
    path = tmp_path / "policy.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput) as caught:
        load_policy(path)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("policy.yaml:")
    return message


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("", 1, "the file is empty"),
        ("- a", 1, "give a mapping"),
        ("rules: []", 1, "`rules` is empty"),
        ("rule:\n  - id: a", 1, "`rules` is missing"),
        ("rules:\n  - {id: a", 3, "not valid YAML"),
        ("rules:\n\t- a", 2, "not valid YAML"),
        (b"rules:\n  - id: \xff", 2, "not UTF-8"),
        ("rules: &x\n  - *x", 1, "give a mapping"),
        ("rules:\n  - id: a\n    id: b", 3, "given twice"),
        ("rules:\n  - id: a b\n    effect: deny\n    match: {phrases: x}", 2, "cannot be used"),
        ("rules:\n  - effect: deny\n    match: {phrases: x}", 2, "`id` is missing"),
        ("rules:\n  - id: a\n    effect: deny\n    mach: {phrases: x}", 2, "is it 'mach'"),
        (
            "rules:\n  - {id: a, effect: deny, match: {phrases: x}}\n  - {id: a, effect: deny, match: {phrases: y}}",
            3,
            "there already, in line 2",
        ),
    ],
)
def test_a_mistake_in_the_file(tmp_path, content, line, words):
    message = error(tmp_path, content)
    assert message.startswith(f"policy.yaml:{line}: ") and words in message


@pytest.mark.parametrize(
    ("effect", "match", "more", "line", "words"),
    [
        ("dney", "{phrases: x}", "", 3, "did you mean 'deny'"),
        ("{energy: .nan}", "{phrases: x}", "", 3, "give a number"),
        ("{energy: 1e9}", "{phrases: x}", "", 3, "from -1000 to 1000"),
        ("{energi: 1}", "{phrases: x}", "", 3, "`energy` is missing"),
        ("deny", "{}", "", 4, "matches nothing"),
        ("deny", "{phrases: []}", "", 4, "`phrases` is empty"),
        ("deny", "{phrases: [x, '']}", "", 4, "`phrases` is empty"),
        ("deny", '{phrases: ["\\u200b"]}', "", 4, "no visible character"),
        ("deny", "{phrases: {a: b}}", "", 4, "give a text"),
        ("deny", "{phrase: x}", "", 4, "did you mean 'phrases'"),
        ("deny", "{regex: '(x'}", "", 4, "not a valid regular expression"),
        ("deny", "{regex: x, whole_words: true}", "", 4, "`whole_words` is for phrases"),
        ("deny", "{phrases: x, ignore_case: true}", "", 4, "`ignore_case` is for a regex"),
        ("deny", "{personal_data: [emial]}", "", 4, "did you mean 'email'"),
        ("deny", "{personal_data: phone, region: Britain}", "", 4, "two capital letters"),
        ("deny", "{classifier: {name: safety}}", "", 4, "add above or below"),
        ("deny", "{classifier: {name: safety, above: 2}}", "", 4, "from 0 to 1"),
        ("deny", "{classifier: {name: safety, above: 0, below: 1}}", "", 4, "both given"),
        ("deny", "{embedding: {texts: x, above: 2}}", "", 4, "from -1 to 1"),
        ("deny", "{function: os.getcwd}", "", 4, "module:function"),
        ("deny", "{function: 'no_module_here:f'}", "", 4, "cannot be imported"),
        ("deny", "{tokens: x}", "", 2, "`tokens` is for energies"),
        ("deny", "{phrases: x}", "scope: outputs", 5, "did you mean 'output'"),
        ("deny", "{phrases: x}", "severity: huge", 5, "choose from low"),
        ("deny", "{phrases: x}", "on_fault: modify", 5, "choose from allow"),
        ("deny", "{phrases: x}", "time_limit: 0", 5, "from 0.001 to 60"),
        ("deny", "{phrases: x}", "replacement: y", 5, "for the effect modify"),
        ("deny", "{phrases: x}", "descriptoin: y", 5, "did you mean 'description'"),
        ("allow", "{phrases: x}", "on_fault: deny", 5, "shields nothing"),
        ("forbid", "{phrases: x}", "scope: both", 5, "acts on what is generated"),
        ("forbid", "{phrases: x}", "must_catch: x", 2, "examples are for rules that judge"),
        ("forbid", "{phrases: x, whole_words: false}", "", 4, "has no `whole_words`"),
        ("forbid", "{personal_data: email}", "", 2, "match phrases, tokens or a regex"),
        ("forbid", "{regex: '(?=x)y'}", "", 2, "look-around"),
        ("{energy: 1}", "{regex: x}", "", 2, "a regex can be forbidden"),
    ],
)
def test_a_mistake_in_a_rule(tmp_path, effect, match, more, line, words):
    message = error(tmp_path, RULE.format(effect=effect, match=match, more=more))
    assert message.startswith(f"policy.yaml:{line}: ") and words in message


def test_scalars_are_read_as_they_are_written(write_policy):
    policy = write_policy("- {id: yes, effect: deny, match: {phrases: [no, 007, null word, 1.10]}}\n")
    (rule,) = policy.rules
    assert rule.id == "yes" and rule.matches[0].phrases == ("no", "007", "null word", "1.10")


def test_a_file_that_is_too_large_or_missing(tmp_path):
    path = tmp_path / "policy.yaml"
    with pytest.raises(FileNotFoundError):
        load_policy(path)
    path.write_bytes(b"#" * (16 << 20) + b"\n")
    with pytest.raises(BadInput, match="at most"):
        load_policy(path)
