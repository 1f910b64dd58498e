"""Causal language models of transformers: network, cache, session, tokenizer, scores."""
