"""Causal language models of transformers: network, key-value cache, session, tokenizer, scoring."""
