"""The model suite fails broken models, one sabotage per check."""

from dataclasses import replace

import numpy as np
import pytest

from heatbath.models import MarkovModel
from heatbath.models.base import Model, Session, Vocabulary
from heatbath.testing import check_model

INNER = MarkovModel.random(0, 4)


class Wrapped(Session):
    """A session that passes everything on; sabotages override one method."""

    def __init__(self, session):
        self.inner = session

    tokens = property(lambda self: self.inner.tokens)

    def energies(self):
        return self.inner.energies()

    def push(self, tokens):
        self.inner.push(tokens)

    def fork(self, indices):
        self.inner.fork(indices)


class Whole(Model):
    """A model that passes everything on."""

    session = Wrapped
    name, vocabulary, context_length = INNER.name, INNER.vocabulary, None
    fingerprint = INNER.fingerprint

    def open(self, prompts):
        return self.session(INNER.open(prompts))

    def score(self, sequences):
        return INNER.score(sequences)

    def encode(self, text):
        return INNER.encode(text)

    def token_bytes(self, token):
        return INNER.token_bytes(token)


class Wide(Whole):
    vocabulary = Vocabulary(3)


class Copying(Whole):
    class session(Wrapped):
        def energies(self):
            return self.inner.energies().copy()


class Held(Wrapped):
    """Gives the same array until the next push."""

    held = None

    def energies(self):
        if self.held is None:
            self.held = self.inner.energies()
        return self.held

    def push(self, tokens):
        self.inner.push(tokens)
        self.held = None

    def fork(self, indices):
        self.inner.fork(indices)
        self.held = None


class Computed(Whole):
    """Sabotages compute new energies; these are held, as they must be, until the next push."""

    def open(self, prompts):
        return Held(self.session(INNER.open(prompts)))


class NaN(Computed):
    class session(Wrapped):
        def energies(self):
            return np.full_like(self.inner.energies(), np.nan)


class Attracting(Computed):
    class session(Wrapped):
        def energies(self):
            return np.full_like(self.inner.energies(), -np.inf)


class Empty(Computed):
    class session(Wrapped):
        def energies(self):
            return np.full_like(self.inner.energies(), np.inf)


class Forgetful(Whole):
    """Energies are not renewed by a push."""

    class session(Held):
        def push(self, tokens):
            self.inner.push(tokens)


class Swallowing(Whole):
    class session(Wrapped):
        def push(self, tokens):
            pass


class Padded(Computed):
    """A row's energies depend on the longest row."""

    class session(Wrapped):
        def energies(self):
            return self.inner.energies() + 1e-3 * max(map(len, self.inner.tokens))


class Unforked(Whole):
    """Forks the tokens but keeps the old rows' energies."""

    class session(Held):
        def fork(self, indices):
            self.held = np.resize(self.energies(), (len(indices), 4))
            self.inner.fork(indices)


class Sorting(Whole):
    class session(Wrapped):
        def fork(self, indices):
            self.inner.fork(sorted(indices))


class Shifted(Whole):
    def score(self, sequences):
        for window in INNER.score(sequences):
            yield replace(window, energies=np.roll(window.energies, 1, axis=1))


class Skipping(Whole):
    def score(self, sequences):
        return INNER.score([tokens[:-1] for tokens in sequences])


class Peeking(Whole):
    """The target's own energy is lowered."""

    def score(self, sequences):
        for window in INNER.score(sequences):
            energies = window.energies.copy()
            energies[np.arange(len(energies)), window.targets] -= 1.0
            yield replace(window, energies=energies)

    def open(self, prompts):
        return Wrapped(INNER.open(prompts))


class Restarted(Whole):
    """Takes an empty prompt for token 3."""

    vocabulary = Vocabulary(4, start_token_ids=(1,))

    def open(self, prompts):
        return Wrapped(INNER.open([tokens or [3] for tokens in prompts]))


class Changing(Whole):
    reads = 0

    @property
    def fingerprint(self):
        self.reads += 1
        return f"sha256:{self.reads:064x}"


class Unhashed(Whole):
    fingerprint = "v1"


class Misspelt(Whole):
    def encode(self, text):
        return [(token + 1) % 4 for token in INNER.encode(text)]


class Mistold(Whole):
    def decode(self, tokens):
        return super().decode(tokens).upper()


class Clamping(Whole):
    """Takes any token."""

    def open(self, prompts):
        return self.session(INNER.open([[min(max(token, 0), 3) for token in tokens] for tokens in prompts]))


class Crashing(Whole):
    class session(Wrapped):
        def push(self, tokens):
            if max(tokens) > 3:
                raise IndexError(tokens)
            self.inner.push(tokens)


def test_a_whole_model_passes():
    check_model(Whole())
    check_model(Whole(), [[0, 1], [3, 2, 1]], tolerance=1e-12)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Wide(), "have shape"),
        (Copying(), "same array"),
        (NaN(), "hold a NaN"),
        (Attracting(), "hold -inf"),
        (Empty(), "every token is forbidden"),
        (Forgetful(), "after a push"),
        (Swallowing(), "push must append"),
        (Padded(), "in a batch and alone|after a push"),
        (Unforked(), "forked rows"),
        (Sorting(), "fork must keep"),
        (Shifted(), "score and of a session"),
        (Skipping(), "score gave positions"),
        (Peeking(), "score and of a session"),
        (Restarted(), "empty prompt"),
        (Changing(), "fingerprint changed"),
        (Unhashed(), "is not 'sha256:'"),
        (Misspelt(), "encode makes"),
        (Mistold(), "decode gives"),
        (Clamping(), "a prompt with token 4 must raise BadInput, but was accepted"),
        (Crashing(), "a push of token 4 must raise BadInput, not IndexError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Model) else "",
)
def test_a_broken_model_fails(model, said):
    with pytest.raises(AssertionError, match=said):
        check_model(model)


def test_a_model_that_peeks_in_score_and_session_alike_is_caught_by_its_sums():
    from heatbath.testing.model import _Case, check_causal

    with pytest.raises(AssertionError, match="continuations of one token"):
        check_causal(_Case(Peeking(), [[0, 1, 2]], 1e-6))
    check_causal(_Case(Whole(), [[0, 1, 2]], 1e-6))
