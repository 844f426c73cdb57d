# Every target sets itself up: the only requirement is Python 3.11 or newer.
PYTHON ?= python3
WORKFLOW ?= examples/fork_join.yaml
SEEDS ?= 2000
FIRST ?= 0
# One waits for the functions' processes while the other computes; more of them would disturb what is timed.
TEST_PROCESSES ?= 2
PREFIX ?= atom

# What is given from outside is text, to make as to the shell: `value` takes it without reading it, and recipes quote it
# where they take it from their environment. Otherwise PROJECT="x'; rm -r ~; '" or PROJECT='$(shell rm -r ~)' would be
# carried out. In a recipe `$(if $(X),…)` may ask whether X is given; what it is stands there as "$$X" alone.
override GIVEN := PYTHON WORKFLOW SEEDS FIRST TEST_PROCESSES PREFIX OPTIONS PROJECT REGION BUCKET TASK_RUNNER_URL \
	SEED SCHEDULE ONLY WITHOUT STRIKES PLAIN SECONDS RUNS EMULATORS WRITE SLOW
$(foreach one,$(GIVEN),$(eval override $(one) := $$(value $(one))))
$(foreach one,$(GIVEN),$(if $($(one)),$(eval export $(one))))

override VENV := .venv
override BIN := $(VENV)/bin
override DEPLOY := PYTHONPATH=deploy:shared "$$PYTHON" -m atom_deploy
override NAMED := --project="$$PROJECT" --prefix="$$PREFIX" --task-runner-url="$$TASK_RUNNER_URL" --bucket="$$BUCKET"
# A deployment that exists is looked for in its own region, which has to be said.
override HERE := --region="$${REGION:-us-central1}" $(NAMED)
override THERE := --region="$$REGION" $(NAMED)
# Words with spaces between them are several; none of them is a pattern of files.
override WORDS := set -f;

.PHONY: run test e2e simulate simulate-mutations chaos lint types check docs bench bench-peers dist clean stage pins plan \
	deploy destroy deployer doctor says-region

run: $(VENV)/.local
	@$(BIN)/atom-workflows run -- "$$WORKFLOW"

test: $(VENV)/.dev
	@$(BIN)/python -m pytest --numprocesses "$$TEST_PROCESSES" --dist loadscope --no-loadscope-reorder

e2e: $(VENV)/.dev
	@$(BIN)/python -m pytest tests/e2e

# SEED=n plays one seed and tells its story; a failure prints the whole command.
simulate: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m simulation $(if $(SEED),--seed="$$SEED" --schedule="$${SCHEDULE:-0}" \
		$(if $(ONLY),--only="$$ONLY") $(if $(WITHOUT),--without="$$WITHOUT") \
		$(if $(STRIKES),--strikes="$$STRIKES") $(if $(PLAIN),--plain="$$PLAIN"),--seeds="$$SEEDS" --first="$$FIRST")

simulate-mutations: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m simulation.mutants --seeds="$$SEEDS"

# EMULATORS="embedded google" plays on both; WRITE=1 brings docs/explanation/chaos.md up to date.
# Make and the storm are interrupted together, and the storm ends what it started.
chaos: $(VENV)/.dev
	@$(WORDS) for one in $$EMULATORS; do set -- "$$@" --emulators="$$one"; done; \
		PYTHONPATH=tests exec $(BIN)/python -m chaos $(if $(SECONDS),--seconds="$$SECONDS") $(if $(RUNS),--runs="$$RUNS") \
		$(if $(SEED),--seed="$$SEED") $(if $(WRITE),--write) "$$@"

lint: $(VENV)/.dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev
	@$(BIN)/mypy

check: lint types docs test

# The pages as a site: build/site/index.html. Whatever a reader would stumble over, such as a link to nowhere, fails it.
docs: $(VENV)/.docs
	@rm -rf build/site build/doctrees  # What was built before would keep its warnings to itself.
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --conf-dir docs --doctree-dir build/doctrees . build/site
	@echo "The site is in build/site/index.html"

bench: $(VENV)/.dev
	@$(BIN)/python -m bench --jobs --large --write

# Installs each engine from the package index under .bench/; ONLY="dbos luigi" are these alone, SLOW=1 is Airflow, too.
bench-peers: $(VENV)/.dev
	@$(WORDS) for one in $$ONLY; do set -- "$$@" --only="$$one"; done; \
		exec $(BIN)/python -m bench.peers $(if $(SLOW),--with-slow) $(if $(ONLY),,--write) "$$@"

# The source archive and the wheel, under dist/.
dist: $(VENV)/.dev
	@$(BIN)/python -m hatchling build --clean

# What is deployed, laid out under build/staged.
stage:
	@$(DEPLOY) stage

# deploy/requirements.txt and the images of cloudbuild*.yaml anew, after a change of pyproject.toml, constraints.txt or a tag.
pins: $(VENV)/.dev
	@$(BIN)/python deploy/pin.py

# make deploy PROJECT=my-project TASK_RUNNER_URL=https://runner [REGION= BUCKET= PREFIX= OPTIONS='--alerts']: docs/how-to/deploy.md
deploy:
	@$(WORDS) $(DEPLOY) deploy $(HERE) $$OPTIONS

# Every resource, what it is for, and the commands that make it; asks nobody.
plan:
	@$(WORDS) $(DEPLOY) plan $(HERE) $$OPTIONS

# Whether a deployment is well, and as it was planned; needs `gcloud auth login` and `gcloud auth application-default login`.
doctor: says-region $(VENV)/.local
	@$(WORDS) PYTHONPATH=deploy $(BIN)/atom-workflows doctor --project="$$PROJECT" --region="$$REGION" \
		--topic-prefix="$$PREFIX-" $(if $(BUCKET),--bucket="$$BUCKET") \
		$(if $(TASK_RUNNER_URL),--tr-url="$$TASK_RUNNER_URL") $$OPTIONS

says-region:
	@$(if $(REGION),,$(error REGION is not set: `gcloud functions list --project=$(or $(PROJECT),PROJECT)` shows where the functions are))

# Everything but bucket, database and dead letters; those, too, with OPTIONS=--delete-data.
destroy:
	@$(WORDS) $(DEPLOY) destroy $(THERE) $$OPTIONS

# Once: the accounts that cloudbuild.yaml and its checks run as.
deployer:
	@$(WORDS) $(DEPLOY) deployer $(HERE) $$OPTIONS

clean:
	rm -rf $(VENV) .bench build dist .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	@"$$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Atom Workflows needs Python 3.11 or newer; try: make PYTHON=python3.12 run")'
	@echo "Setting up $(VENV) ..."
	@"$$PYTHON" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }  # Half of one would be taken for a whole one the next time.

# Nothing is built from source but this project itself, by what pyproject.toml pins: a build would run what nobody pinned.
$(VENV)/.local: $(VENV)/bin/python pyproject.toml constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --only-binary :all: --editable '.[local]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --only-binary :all: --editable '.[dev]'
	@touch $@ $(VENV)/.local $(VENV)/.docs

$(VENV)/.docs: $(VENV)/bin/python pyproject.toml constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --only-binary :all: --editable '.[docs]'
	@touch $@
