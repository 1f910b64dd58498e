"""What every test shares: hypothesis profiles, thread counts, the default model, which warnings fail, and skips."""

from __future__ import annotations

import os
import random
import secrets
import sys
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

PROCESSES = 2
"""Processes that share the tests of a run, where `-n` does not say another number."""

# numba reads its setting once, when it is first imported; PyTorch takes the OpenMP one.
THREADS = {"NUMBA_NUM_THREADS", "OMP_NUM_THREADS"} - os.environ.keys()
os.environ.update(dict.fromkeys(THREADS, "2"))
os.environ.setdefault("MPLBACKEND", "Agg")

# No deadline: the first call of a kernel compiles it. In CI the examples, and the seeds of requests that name none, are
# the same every time. Locally they differ from run to run, so that many runs see many; `--hypothesis-profile=thorough`
# sees many at once.
CI = bool(os.environ.get("CI"))
EXAMPLES = 40
settings.register_profile("local", deadline=None, max_examples=EXAMPLES)
settings.register_profile("ci", deadline=None, max_examples=EXAMPLES, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("ci" if CI else "local")

MODEL = "smollm2-135m"

DEPRECATIONS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
OURS = {"heatbath", "tests", "example"} | {path.stem for path in Path(__file__).parent.rglob("*.py")}
"""First parts of module names that are this project's; `example` is a page of the documentation."""


class AttributedToUs:
    """Stands for the module of a warning filter: a warning whose line is in our code."""

    def match(self, module: str) -> bool:
        return module.partition(".")[0] in OURS


class RaisedByUs:
    """Stands for the module of a warning filter: `warnings.warn` was called by our code, whatever `stacklevel` says."""

    def match(self, module: str) -> bool:
        caller = sys._getframe(1)
        return str(caller.f_globals.get("__name__")).partition(".")[0] in OURS and "warn" in caller.f_code.co_names


# First match wins. A deprecation is often attributed to the caller, us, so that the next release of any library would
# fail tests: only those that we raise are errors. Other warnings that are attributed to us are about what we do.
FILTERS: list[Any] = [
    *(("error", None, category, RaisedByUs(), 0) for category in DEPRECATIONS),
    *(("always", None, category, None, 0) for category in DEPRECATIONS),
    ("error", None, Warning, AttributedToUs(), 0),
]


class OtherWarnings:
    """Collects what fails nothing, and lists each once at the end of the run; workers of xdist report to this one."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        self.places: dict[tuple[str, str], str] = {}

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        key = warning_message.category.__name__, " ".join(str(warning_message.message).split())
        file = warning_message.filename.rpartition("site-packages" + os.sep)[2].removeprefix(os.getcwd() + os.sep)
        self.counts[key] = self.counts.get(key, 0) + 1
        self.places.setdefault(key, f"{file}:{warning_message.lineno}")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.counts:
            return
        terminalreporter.section(f"{len(self.counts)} warnings of other packages, which fail nothing")
        for (category, text), count in sorted(self.counts.items()):
            times = "" if count == 1 else f" ({count} times)"
            terminalreporter.write_line(f"{self.places[category, text]}: {category}: {text:.400}{times}")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the processes that `-n auto` stands for: one file is not worth the start of another process."""
    paths = [Path(argument.partition("::")[0]) for argument in config.args]
    return 0 if len(set(paths)) == 1 and paths[0].is_file() else PROCESSES


def pytest_configure(config: pytest.Config) -> None:
    """Start to collect the warnings of others, and give each of several processes one thread."""
    config.pluginmanager.register(OtherWarnings())
    if config.getoption("numprocesses", None):
        os.environ.update(dict.fromkeys(THREADS, "1"))  # read by the processes that are about to start


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Which warnings fail while test modules are imported."""
    _insert_filters(session.config, 0)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Which warnings fail during a test; its own `filterwarnings` marks come first. Which seeds requests get, in CI."""
    _insert_filters(item.config, sum(len(mark.args) for mark in item.iter_markers("filterwarnings")))
    if CI:
        secrets.randbits = random.Random(item.nodeid).getrandbits
    return (yield)


def _insert_filters(config: pytest.Config, marks: int) -> None:
    """After the filters of marks and of `-W`, before those of pyproject.toml; pytest restores the list."""
    first = marks + len(config.getoption("pythonwarnings") or ())
    warnings.filters[first:first] = FILTERS  # type: ignore[index]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests of the default model first, skip those marked `gpu` where PyTorch sees no CUDA device.

    The first of several processes starts with the first tests, and so is the only one to load the model.
    """
    items.sort(key=lambda item: item.get_closest_marker("weights") is None)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """The folder of the default model, fetched once into the user's cache."""
    from heatbath.models.hub import catalog

    return Path(catalog.pull(MODEL))


@pytest.fixture(scope="session")
def load_once() -> Callable[..., Any]:
    """`heatbath.load` that loads a model in a type once for all tests of a process."""
    import heatbath

    load = heatbath.load  # before a test puts this function in its place
    loaded: dict[tuple[str, str | None], Any] = {}

    def load_shared(name: str, *, dtype: str | None = None) -> Any:
        if (name, dtype) not in loaded:
            model = load(name, dtype=dtype)
            loaded[name, dtype] = loaded.setdefault((name, str(model.dtype).removeprefix("torch.")), model)
        return loaded[name, dtype]

    return load_shared


@pytest.fixture(scope="session")
def smollm2(smollm2_folder: Path, load_once: Callable[..., Any]) -> Any:
    """The default model in float32. Ask for it only in tests marked `weights`."""
    return load_once(MODEL, dtype="float32")
