# In an environment with: pip install -e '.[test,dev,docs]'
.PHONY: check test docs bench size ci

check:          ## format, lint, types, layers, names, docs, size
	bash .ci/checks

test:           ## the tests, without the minutes-long ones (pytest -m slow)
	pytest

docs:           ## the documentation, served with live reload
	mkdocs serve

bench:          ## every speed and memory target with both figures
	heatbath bench

size:           ## the size table against its budgets
	python tools/size.py

ci:             ## what CI runs, in a fresh environment
	bash .ci/run
