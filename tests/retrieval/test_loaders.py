"""Loaders: the text of each type of file, its sections and metadata, and sentences for what cannot be read."""

from __future__ import annotations

import pytest

from heatbath.errors import BadInput
from heatbath.retrieval.loaders import LoadedDocument, load_document


def slices(document: LoadedDocument) -> list[tuple[str, str]]:
    return [(each.title, document.text[each.start : each.end].strip()) for each in document.sections]


def build_pdf(*pages: str) -> bytes:
    """Build a PDF of one line a page, with a table of offsets."""
    kids = " ".join(f"{3 + 2 * i} 0 R" for i in range(len(pages)))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>"]
    font = f"<< /Font << /F1 {3 + 2 * len(pages)} 0 R >> >>"
    for i, page in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({page}) Tj ET"
        objects.append(f"<< /Type /Page /Parent 2 0 R /Resources {font} /Contents {4 + 2 * i} 0 R >>")
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    content, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(content)}\n%%EOF\n"
    return f"{content}xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode()


def test_markdown_has_a_section_for_each_heading_and_metadata_from_front_matter() -> None:
    text = (
        "---\ntitle: Guide\ntags: [a, b]\ndate: 2026-01-02\n---\nIntro.\r\n\r\n# One\r\n\r\n## Two\r\nBody é.\n"
        "```\n# no heading\n```\n\nThree\n=====\nEnd.\n"
    )
    document = load_document(text.encode(), "a.md")
    assert document.text == text
    assert document.metadata == {"title": "Guide", "tags": ["a", "b"], "date": "2026-01-02"}
    assert slices(document) == [
        ("Guide", "Intro."),
        ("One > Two", "# One\r\n\r\n## Two\r\nBody é.\n```\n# no heading\n```"),
        ("Three", "Three\n=====\nEnd."),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"---\n[1, 2]\n---\nx", "key: value"),
        (b"---\na: [\n---\nx", "no YAML"),
        (b"---\na: 2026-99-99\n---\nx", "no YAML"),
    ],
)
def test_front_matter_that_is_no_mapping_gets_a_sentence(content: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        load_document(content, "a.md")


def test_html_keeps_visible_text_in_blocks_and_reads_meta() -> None:
    page = (
        '<html><head><title>T &amp; x</title><meta name="Author" content="Ann"><style>p{}</style></head><body>'
        "<script>var a = '<p>no</p>';</script><p>First <b>bold</b>\n text.</p><h2>Head</h2><pre>a\n  b</pre>"
        "<p>Caf&eacute; &#xD800;</p><svg><text>no</text></svg><p>unclosed"
    )
    document = load_document(page.encode(), "a.html")
    assert document.title == "T & x" and document.metadata == {"author": "Ann"}
    assert slices(document) == [("T & x", "First bold text."), ("Head", "Head\n\na\n  b\n\nCafé �\n\nunclosed")]


def test_pdf_has_a_section_for_each_page_with_text() -> None:
    document = load_document(build_pdf("Heat bath", "", "Second page"), "a.pdf")
    assert [each[1] for each in slices(document)] == ["Heat bath", "Second page"]
    assert [each.metadata for each in document.sections] == [{"page": 1}, {"page": 3}]


@pytest.mark.parametrize("content", [b"", b"%PDF-1.4\n", b"not a pdf", build_pdf("Text")[:300], build_pdf("")])
def test_a_broken_or_empty_pdf_gets_a_sentence(content: bytes) -> None:
    with pytest.raises(BadInput, match="a.pdf (cannot be read as a PDF|has no text)"):
        load_document(content, "a.pdf")


PYTHON = '''"""Module é."""
import os

# A comment above.
@decorator
def first():
    def inner(): pass
    return 1


class Shape(Base):
    """Doc."""

    x = 1

    def area(self):
        return 2

if os.name:
    def second(): pass
'''


def test_python_has_a_section_for_each_function_and_method() -> None:
    found = slices(load_document(PYTHON.encode(), "a.py"))
    assert [title for title, _ in found] == ["a.py", "first", "Shape", "Shape.area", "a.py", "second"]
    assert found[1][1].startswith("# A comment above.\n@decorator") and found[1][1].endswith("return 1")
    assert found[3][1] == "def area(self):\n        return 2"


@pytest.mark.parametrize(
    ("name", "code", "titles"),
    [
        ("a.js", "export class A { m() { return 1 } }\nfunction f() {}", {"A.m", "f"}),
        ("a.ts", "interface I { x: number }\nfunction f(): void {}", {"I", "f"}),
        ("a.tsx", "function F() { return <p>x</p> }", {"F"}),
        ("A.java", "class A { int m() { return 1; } }", {"A.m"}),
        ("a.go", "package p\nfunc F() int { return 1 }\ntype T struct {}", {"F", "T"}),
        ("a.rs", "impl A { fn m(&self) {} }\nfn f() {}", {"A.m", "f"}),
        ("a.h", "#ifndef A\n#define A\nint f(int x) { return x; }\nstruct S { int a; };\n#endif", {"f", "S"}),
        (
            "a.cpp",
            "namespace n { class A { int m() { return 1; } }; }\ntemplate <class T> T g(T x) { return x; }",
            {"g"},
        ),
    ],
)
def test_every_grammar_finds_definitions(name: str, code: str, titles: set[str]) -> None:
    document = load_document(code.encode(), name)
    assert titles <= {title for title, _ in slices(document)}
    assert "".join(code.split()) == "".join("".join(text.split()) for _, text in slices(document))


def test_code_that_does_not_parse_is_indexed_all_the_same() -> None:
    assert slices(load_document(b"def ((( broken\n\xc3\xa9 = [", "a.py"))


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.py", "noname"])
@pytest.mark.parametrize(
    ("content", "words"), [(b"\x00\x01binary" * 50, "binary data"), ("naïve".encode("latin-1"), "is not UTF-8 text")]
)
def test_binary_data_and_other_encodings_get_a_sentence(name: str, content: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=f"{name} .*{words}"):
        load_document(content, name)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.py"])
def test_an_empty_file_has_no_sections(name: str) -> None:
    document = load_document(b"", name)
    assert document.text == "" and document.sections == ()


def test_utf_16_with_a_byte_order_mark_is_read() -> None:
    assert load_document("é\r\nb".encode("utf-16"), "a.txt").text == "é\r\nb"
