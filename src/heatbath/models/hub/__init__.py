"""Names of models -> folders of weights: catalog, downloads, conversion, fingerprints."""
