"""The other side of `heatbath bench retrieval`: langchain indexes a folder of text files, in its own environment.

Run as a script by the Python of that environment, which has no heatbath. The last line of the output has the seconds
from the first file to the finished table, and the number of chunks.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib import import_module
from typing import Any


def load_embeddings(folder: str) -> Any:
    """Return the model as langchain takes it."""
    return import_module("langchain_huggingface").HuggingFaceEmbeddings(
        model_name=folder, encode_kwargs={"normalize_embeddings": True}
    )


def build_splitter(settings: dict[str, Any]) -> Any:
    """Return the splitter of langchain that counts the tokens of the model."""
    tokenizer = import_module("transformers").AutoTokenizer.from_pretrained(settings["model"])
    splitter = import_module("langchain_text_splitters").RecursiveCharacterTextSplitter
    return splitter.from_huggingface_tokenizer(
        tokenizer, chunk_size=settings["tokens"], chunk_overlap=settings["overlap"]
    )


def index_folder(settings: dict[str, Any], embeddings: Any, splitter: Any) -> int:
    """Load, split, embed and store all text files of a folder, and return the number of chunks."""
    loaders = import_module("langchain_community.document_loaders")
    loader = loaders.DirectoryLoader(settings["source"], glob="**/*.txt", loader_cls=loaders.TextLoader)
    chunks = splitter.split_documents(loader.load())
    store = import_module("langchain_community.vectorstores").LanceDB
    with tempfile.TemporaryDirectory() as folder:
        store.from_documents(chunks, embeddings, connection=import_module("lancedb").connect(folder))
    return len(chunks)


def main() -> None:
    """Index the folder of the settings in the first argument."""
    settings = json.loads(sys.argv[1])
    embeddings, splitter = load_embeddings(settings["model"]), build_splitter(settings)
    embeddings.embed_documents(["warm"])
    start = time.perf_counter()
    chunks = index_folder(settings, embeddings, splitter)
    print(json.dumps({"seconds": time.perf_counter() - start, "chunks": chunks}))


if __name__ == "__main__":
    main()
