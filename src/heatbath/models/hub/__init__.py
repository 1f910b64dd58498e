"""Models by name: the catalog, downloads, conversion of GGUF files, fingerprints and loading."""
