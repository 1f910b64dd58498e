"""Parts around the API that a server may have: the prompt library."""
