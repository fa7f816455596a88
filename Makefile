PYTHON ?= python3
# For example PIP_FLAGS="--index-url https://pypi.example.org/simple" for another package index.
PIP_FLAGS ?=
# On Linux PyPI's torch brings gigabytes of CUDA, which the course does not use: this index has a build without.
CPU_BUILDS := https://download.pytorch.org/whl/cpu
BIN := .venv/bin
NOTEBOOKS ?= notebooks/*.ipynb
# For example LESSONS="02 07" for the slides or handouts of two lessons.
LESSONS ?=
# For example MODULES="lora low_rank" for the mutants of two modules.
MODULES ?=

.PHONY: lab test test-long test-lowest test-newest machines notebooks minutes figures model runs bench site slides handouts pages-test browser-test mutants audit lint clean

lab: .venv/ready            ## open the course
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

test: .venv/ready           ## run everything: style, package, every notebook
	$(BIN)/ruff check . && $(BIN)/ruff format --check lora_lab tests
	$(BIN)/pytest

test-long: .venv/ready      ## what takes longer: lessons solved from top to bottom, with other models and pictures, each cell twice
	$(BIN)/pytest tests/long_*.py

test-lowest test-newest: .venv/ready  ## the whole suite with the lowest versions that are stated, or the newest
	$(BIN)/python tests/other_versions.py $(@:test-%=%)

machines: .venv/ready       ## the lessons or the whole suite as on other machines: threads, instructions, places, languages
	$(BIN)/python tests/other_machines.py

notebooks: .venv/ready      ## run the lessons top to bottom and save their outputs (NOTEBOOKS=notebooks/03* for one)
	HF_HOME=.no_cache OMP_NUM_THREADS=1 LORA_LAB_PROGRESS=off $(BIN)/jupyter nbconvert --log-level WARN --to notebook --execute --inplace \
	  --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False \
	  --NotebookExporter.preprocessors=nbconvert.preprocessors.CoalesceStreamsPreprocessor $(NOTEBOOKS)

minutes: .venv/ready        ## count the minutes that the lessons take, and write them into headers and README
	$(BIN)/python tests/minutes.py

figures: .venv/ready        ## draw the diagrams in images/ again
	$(BIN)/python -m lora_lab.drawing.diagrams

model: .venv/ready          ## train the pretrained model that ships anew, in some minutes
	$(BIN)/python -m lora_lab.story_gpt2.pretraining

runs: .venv/ready           ## make the stored runs of lessons 10 to 12 and 14 again, and say how long each topic's took
	$(BIN)/python -m lora_lab.runs

bench: .venv/ready          ## measure layers, steps of training, moves of a slider, lessons and tests, for docs/speed.md
	$(BIN)/pip install --quiet $(PIP_FLAGS) loralib==0.1.2
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/bench_layers.py 2> /dev/null
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench_sliders.py
	$(BIN)/python tests/bench_lessons.py

site: .venv/pages           ## build a site of all lessons, which needs no server: build/site/index.html
	HF_HOME=.no_cache OMP_NUM_THREADS=1 $(BIN)/python -m lora_lab.pages.sliders
	$(BIN)/sphinx-build -q -c docs -d build/doctrees . build/site

slides: .venv/pages         ## build a deck of each lesson in build/slides
	HF_HOME=.no_cache OMP_NUM_THREADS=1 $(BIN)/python -m lora_lab.pages.sliders $(LESSONS)
	$(BIN)/python -m lora_lab.pages.slides $(LESSONS)

handouts: .venv/ready       ## write each lesson without outputs and solutions, and an answer book, into build/handouts
	$(BIN)/python -m lora_lab.pages.handouts $(LESSONS)

pages-test: .venv/pages     ## build site and decks, and test what was built
	$(BIN)/pytest -n 0 tests/built_pages.py

browser-test: .venv/pages   ## run every lesson in JupyterLab in a browser, and look at site and decks in it, too
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 0 -r fEs tests/browser_lessons.py
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 0 -r fEs tests/built_pages.py

mutants: .venv/ready        ## change package and lessons in one place after another, and see whether the tests notice (hours)
	$(BIN)/pip install --quiet $(PIP_FLAGS) cosmic-ray==8.7.0
	$(BIN)/python tests/mutants.py $(MODULES)
	$(if $(MODULES),,$(BIN)/python tests/lesson_mutants.py)

audit:                      ## ask whether a package that the course installs has a known hole
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet $(PIP_FLAGS) pip-audit==2.10.1
	grep -v "^-e" requirements.txt > build/audit/requirements.txt
	build/audit/bin/pip-audit -r build/audit/requirements.txt

lint: .venv/ready           ## repair what ruff can repair
	$(BIN)/ruff check --fix . && $(BIN)/ruff format lora_lab tests

clean:                      ## remove the virtual environment and all that was built
	rm -rf .venv build docs/node_modules docs/package

# The virtual environment is made again when a requirement changes, and only then.
.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -c "import sys; v = sys.version.split()[0]; sys.exit(0 if sys.version_info >= (3, 11) else f'Python 3.11 or newer is needed, this is {v}: try make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv .venv
	@flags='$(PIP_FLAGS)'; if [ -z "$$flags" ] && [ "$$(uname)" = Linux ]; then \
	  if $(BIN)/python -c "from urllib.request import urlopen; urlopen('$(CPU_BUILDS)/torch/', timeout=5)" 2> /dev/null; \
	  then flags='--extra-index-url $(CPU_BUILDS)'; echo "torch: the build for CPUs, from $(CPU_BUILDS)"; \
	  else echo "torch: what pip finds by itself, since $(CPU_BUILDS) does not answer"; fi; fi; \
	set -x; $(BIN)/pip install --quiet $$flags -r requirements.txt
	touch $@

# What pages are made with, fetched once: exact versions, and for npm's packages the hashes of package-lock.json.
.venv/pages: .venv/ready docs/package-lock.json
	$(BIN)/pip install --quiet $(PIP_FLAGS) -e '.[site]'
	$(BIN)/npm ci --prefix docs --ignore-scripts --no-audit --no-fund --loglevel error
	touch $@
