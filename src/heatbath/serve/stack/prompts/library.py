"""The prompts of a folder: read when they change, with every version that was ever seen."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from heatbath.errors import BadInput, format_value, suggest_name
from heatbath.serve.stack.prompts.front_matter import PromptMistake
from heatbath.serve.stack.prompts.template import PromptTemplate, read_template

VERSIONS = "versions"
"""The folder inside that of the prompts with earlier versions, which are chosen by their version only."""

_SHORT_DIGEST = 12
_Signature = tuple[int, int, int]


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts versions as people do: 1.9 before 1.10."""
    parts = re.findall(r"\d+|[^\d.]+", version)
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)


@dataclass
class LibraryFile:
    """A file of the folder.

    Attributes:
        template: its last content without a mistake.
        reference: the name and version that its newest content says, None where that cannot be read.
        problem: the mistake of its newest content, None without one.
    """

    signature: _Signature
    template: PromptTemplate | None = None
    reference: str | None = None
    problem: str | None = None


@dataclass
class PromptLibrary:
    """The prompts of `folder`. Every look-up reads files that have changed; `on_problem` gets each mistake once.

    Attributes:
        files: the files as they are now, by path.
        seen: by name, every template that was read, by digest; the last one read last.
    """

    folder: Path
    on_problem: Callable[[str], None] | None = None
    files: dict[Path, LibraryFile] = field(default_factory=dict)
    seen: dict[str, dict[str, PromptTemplate]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, on_problem: Callable[[str], None] | None = None) -> PromptLibrary:
        """Read the prompts of a folder.

        Raises:
            BadInput: there is no such folder, or a file has a mistake.
        """
        if not folder.is_dir():
            raise BadInput(f"there is no folder {folder} of prompts: create it, or give another.", param="folder")
        library = cls(folder)
        library.refresh()
        if library.problems:
            raise BadInput(library.problems[0])
        library.on_problem = on_problem
        return library

    @property
    def problems(self) -> list[str]:
        """A sentence for each file whose newest content has a mistake, with file and line."""
        return [file.problem for _, file in sorted(self.files.items()) if file.problem]

    def refresh(self) -> None:
        """Read what has changed since the last time; a file with a mistake keeps its last good content."""
        found = dict(_scan(self.folder))
        before = {path: file.signature for path, file in self.files.items()}
        if found == before:
            return
        for path in before.keys() - found.keys():
            del self.files[path]
        known = set(self.problems)
        # Twice: a file may take the version that another gives up.
        for _ in range(2):
            for path in sorted(found):
                file = self.files.get(path)
                if file is None or file.signature != found[path] or file.problem:
                    self._read(path, found[path])
        for problem in self.problems:
            if problem not in known and self.on_problem is not None:
                self.on_problem(problem)

    def list_current(self) -> list[PromptTemplate]:
        """Return the newest version of each prompt that has a file, by name."""
        self.refresh()
        names = sorted({template.name for template in self._list_files(is_current=True)})
        return [template for name in names if (template := self._find_newest(name)) is not None]

    def list_files(self) -> list[PromptTemplate]:
        """Return the prompts of all files of the folder itself, versions side by side, by name and version."""
        self.refresh()
        return sorted(self._list_files(is_current=True), key=lambda each: (each.name, version_order(each.version)))

    def list_versions(self, name: str) -> list[PromptTemplate]:
        """Return every content of a prompt that is known, oldest version first."""
        self.refresh()
        return sorted(self.seen.get(name, {}).values(), key=lambda template: version_order(template.version))

    def find(self, name: str, version: str | None = None) -> PromptTemplate:
        """Return a prompt by `name` or `name@version`; without a version the newest that has a file.

        A version is that of the front matter, or the first 12 or more digits of a digest. Of several contents of one
        version it is the one in the folder, else the one read last.

        Raises:
            BadInput: there is none; `param` says whether the name or the version is wrong.
        """
        self.refresh()
        name, _, given = name.partition("@")
        if given and version not in (None, given):
            raise BadInput(f"the prompt {name} is asked for in two versions: give one.", param="version")
        version = given or version
        if name not in self.seen:
            hint = suggest_name(name, self.seen) or ": GET /v1/prompts and heatbath prompts list have the names"
            raise BadInput(f"there is no prompt {format_value(name)}{hint}.", param="name")
        found = self._find_newest(name) if version is None else self._find_version(name, version)
        if found is not None:
            return found
        known = ", ".join(dict.fromkeys(template.version for template in self.list_versions(name)))
        if version is None:
            raise BadInput(f"prompt {name} has no file any more: give one of its versions, {known}.", param="version")
        raise BadInput(f"prompt {name} has no version {format_value(version)}: give one of {known}.", param="version")

    def _read(self, path: Path, signature: _Signature) -> None:
        before = self.files.get(path)
        file = LibraryFile(signature, before.template if before else None)
        try:
            template = read_template(path)
            file.reference = template.reference
            self._check_unique(template)
            file.template = template
            contents = self.seen.setdefault(template.name, {})
            contents.pop(template.digest, None)
            contents[template.digest] = template
        except BadInput as error:
            file.problem = str(error)
        self.files[path] = file

    def _check_unique(self, template: PromptTemplate) -> None:
        """Raise `BadInput` if another file of the folder has this version of the prompt."""
        for path, file in self.files.items():
            is_beside = path != template.path and path.parent == template.path.parent
            if is_beside and file.reference == template.reference:
                sentence = f"{template.reference} is in {path.name} too: give one of them another version."
                raise PromptMistake(template.path, 1, sentence)

    def _list_files(self, *, is_current: bool) -> Iterator[PromptTemplate]:
        for path, file in self.files.items():
            if file.template is not None and (path.parent == self.folder) == is_current:
                yield file.template

    def _find_newest(self, name: str) -> PromptTemplate | None:
        found = [template for template in self._list_files(is_current=True) if template.name == name]
        return max(found, key=lambda template: version_order(template.version), default=None)

    def _find_version(self, name: str, version: str) -> PromptTemplate | None:
        contents = [*reversed(self.seen[name].values())]
        ranked = [*self._list_files(is_current=True), *self._list_files(is_current=False), *contents]
        is_digest = len(version) >= _SHORT_DIGEST
        return next(
            (each for each in ranked if each.name == name and each.version == version),
            next((each for each in contents if is_digest and each.digest.startswith(version)), None),
        )


def _scan(folder: Path) -> Iterator[tuple[Path, _Signature]]:
    """Yield the prompt files of a folder and of its versions, with what changes when they do."""
    for place in (folder, folder / VERSIONS):
        try:
            entries = list(os.scandir(place))
        except OSError:
            continue
        for entry in entries:
            if entry.name.endswith(".md") and not entry.name.startswith(".") and entry.name.lower() != "readme.md":
                try:
                    status = entry.stat()
                except OSError:
                    continue
                yield place / entry.name, (status.st_mtime_ns, status.st_size, status.st_ino)
