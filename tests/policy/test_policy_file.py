"""A policy that follows its file, and its version."""

import os

import pytest

from heatbath.errors import BadInput
from heatbath.policy import PolicyFile

GOOD = "rules:\n  - {id: a, effect: deny, match: {phrases: secret}}\n"
OTHER = GOOD.replace("secret", "hidden")


def write(path, content):
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(content)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_a_change_is_followed_and_a_mistake_keeps_the_last_good_policy(tmp_path):
    path = tmp_path / "policy.yaml"
    write(path, GOOD)
    file = PolicyFile(path)
    first = file.policy
    assert not file.refresh() and file.policy is first and file.problem is None
    write(path, "# a comment\n" + GOOD)
    assert not file.refresh() and file.policy.version == first.version
    write(path, OTHER)
    assert file.refresh() and file.policy.version != first.version
    assert file.policy.judge("hidden", scope="output").action == "deny"
    write(path, OTHER.replace("deny", "dney"))
    kept = file.policy
    assert not file.refresh() and file.policy is kept
    assert file.problem.startswith("policy.yaml:2: ") and f"{kept.version} stays in force" in file.problem
    assert not file.refresh() and file.problem
    path.unlink()
    assert not file.refresh() and file.policy is kept and "cannot be read" in file.problem
    assert not file.refresh() and file.problem
    write(path, OTHER)
    assert not file.refresh() and file.problem is None
    write(path, GOOD)
    assert file.refresh() and file.policy.version == first.version and file.problem is None


def test_a_first_file_with_a_mistake_is_refused(tmp_path):
    path = tmp_path / "policy.yaml"
    with pytest.raises(FileNotFoundError):
        PolicyFile(path)
    write(path, "rules: 3")
    with pytest.raises(BadInput, match="policy.yaml:1"):
        PolicyFile(path)


@pytest.mark.parametrize(
    ("change", "is_other"),
    [
        (("secret", "secrets"), True),
        (("deny", "warn"), True),
        (("effect", "scope: input, effect"), True),
        (("effect", "severity: high, effect"), True),
        (("effect", "on_fault: warn, effect"), True),
        (("effect", "time_limit: 2, effect"), True),
        (("phrases: secret", "phrases: secret, whole_words: false"), True),
        (("effect", "description: why, must_catch: secret, effect"), False),
        (("rules:", "# why\nrules:"), False),
    ],
)
def test_the_version_is_that_of_what_the_rules_do(tmp_path, change, is_other):
    versions = []
    for content in (GOOD, GOOD.replace(*change)):
        path = tmp_path / "policy.yaml"
        write(path, content)
        versions.append(PolicyFile(path).policy.version)
    assert (versions[0] != versions[1]) is is_other
