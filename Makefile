# Every target installs what it needs; only Python 3.11 or newer must be installed beforehand.
PYTHON ?= python3
# What runs jobs. A file that is named is not run for real unless that is asked for.
ifeq ($(origin RUNNER),undefined)
RUNNER := $(if $(filter undefined,$(origin WORKFLOW)),process,mock)
endif
WORKFLOW ?= examples/orders/orders.yaml
SEEDS ?= 1200
FIRST ?= 0
# On two processors, one process more than there are: tests wait for the functions and for jobs about a third of the time.
TEST_PROCESSES ?= 3
PREFIX ?= atom

# Variables given by the user are plain text, both to make and to the shell: `value` reads them unexpanded, and recipes
# read them, quoted, from the environment. Otherwise PROJECT="x'; rm -r ~; '" or PROJECT='$(shell rm -r ~)' would be
# executed. In a recipe, `$(if $(X),…)` may test whether X is given; its value is written only as "$$X".
override GIVEN := PYTHON WORKFLOW RUNNER SEEDS FIRST TEST_PROCESSES PREFIX OPTIONS PROJECT REGION BUCKET TASK_RUNNER_URL \
	SEED SCHEDULE ONLY WITHOUT STRIKES PLAIN SECONDS RUNS EMULATORS WRITE SLOW KILLS FILES
$(foreach one,$(GIVEN),$(eval override $(one) := $$(value $(one))))
$(foreach one,$(GIVEN),$(if $($(one)),$(eval export $(one))))

override VENV := .venv
override BIN := $(VENV)/bin
override DEPLOY := PYTHONPATH=deploy:shared "$$PYTHON" -m atom_deploy
override NAMED := --project="$$PROJECT" --prefix="$$PREFIX" --task-runner-url="$$TASK_RUNNER_URL" --bucket="$$BUCKET"
# Targets that use an existing deployment need its region, which has no default.
override HERE := --region="$${REGION:-us-central1}" $(NAMED)
override THERE := --region="$$REGION" $(NAMED)
# Split a variable into words without expanding file patterns in them.
override WORDS := set -f;

.PHONY: run test e2e simulate simulate-mutations chaos kills lint types check docs pictures bench bench-places bench-graph bench-peers dist clean stage pins plan \
	deploy destroy deployer doctor says-region

run: $(VENV)/.local
	@$(BIN)/atom-workflows run --runner "$$RUNNER" -- "$$WORKFLOW"

test: $(VENV)/.dev
	@$(BIN)/python -m pytest --numprocesses "$$TEST_PROCESSES" --dist loadscope --no-loadscope-reorder

# With a longer chain of jobs than in `make test`, which waits for each of them.
e2e: $(VENV)/.dev
	@CHAINED_JOBS=20 $(BIN)/python -m pytest tests/e2e

# SEED=n plays one seed and prints its trace; a failure prints the whole command that replays it.
simulate: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m simulation $(if $(SEED),--seed="$$SEED" --schedule="$${SCHEDULE:-0}" \
		$(if $(ONLY),--only="$$ONLY") $(if $(WITHOUT),--without="$$WITHOUT") \
		$(if $(STRIKES),--strikes="$$STRIKES") $(if $(PLAIN),--plain="$$PLAIN"),--seeds="$$SEEDS" --first="$$FIRST")

simulate-mutations: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m simulation.mutants --seeds="$$SEEDS"

# EMULATORS="embedded google" plays on both; WRITE=1 updates docs/explanation/chaos.md.
# Ctrl-C interrupts both make and the storm, and the storm ends the processes that it started.
chaos: $(VENV)/.dev
	@$(WORDS) for one in $$EMULATORS; do set -- "$$@" --emulators="$$one"; done; \
		PYTHONPATH=tests exec $(BIN)/python -m chaos $(if $(SECONDS),--seconds="$$SECONDS") $(if $(RUNS),--runs="$$RUNS") \
		$(if $(SEED),--seed="$$SEED") $(if $(WRITE),--write) "$$@"

# Kill the whole local platform 200 times, or KILLS=n, and start it again; SEED=n chooses the moments.
kills: $(VENV)/.dev
	@PYTHONPATH=tests exec $(BIN)/python -m chaos.kills $(if $(KILLS),--kills="$$KILLS") $(if $(SEED),--seed="$$SEED")

lint: $(VENV)/.dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev
	@$(BIN)/mypy

check: lint types docs test

# Build the pages as a site, build/site/index.html. Problems such as a broken link fail the build.
docs: $(VENV)/.docs
	@rm -rf build/site build/doctrees  # An incremental build would not repeat its warnings.
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --conf-dir docs --doctree-dir build/doctrees . build/site
	@echo "The site is in build/site/index.html"

# Take the pictures of the console in docs/how-to/console.md again; this needs Chromium.
pictures: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python docs/console_pictures.py

bench: $(VENV)/.dev
	@$(BIN)/python -m bench --jobs --large --write

# Measure how well the places of maxParallel are used: jobs of 5 s in 50 places, and jobs answered at once in 20.
bench-places: $(VENV)/.dev
	@$(BIN)/python -m bench.places

# Measure how fast the console's graph opens, moves and changes, and what an hour of changes leaves in page and server;
# FILES="a.yaml b.yaml" opens these besides 10,000 steps.
bench-graph: $(VENV)/.dev
	@$(WORDS) for one in $$FILES; do set -- "$$@" "$$one"; done; $(BIN)/python -m bench.graph_view "$$@"
	@$(BIN)/python -m bench.console_hour

# Installs each engine from the package index into .bench/; ONLY="dbos luigi" runs just these, SLOW=1 adds Airflow.
bench-peers: $(VENV)/.dev
	@$(WORDS) for one in $$ONLY; do set -- "$$@" --only="$$one"; done; \
		exec $(BIN)/python -m bench.peers $(if $(SLOW),--with-slow) $(if $(ONLY),,--write) "$$@"

# Build the source archive and the wheel in dist/.
dist: $(VENV)/.dev
	@$(BIN)/python -m hatchling build --clean

# Lay out what is deployed in build/staged.
stage:
	@$(DEPLOY) stage

# Update deploy/requirements.txt and the images in cloudbuild*.yaml after a change of pyproject.toml, constraints.txt or
# a tag.
pins: $(VENV)/.dev
	@$(BIN)/python deploy/pin.py

# make deploy PROJECT=my-project TASK_RUNNER_URL=https://runner [REGION= BUCKET= PREFIX= OPTIONS='--alerts']: docs/how-to/deploy.md
deploy:
	@$(WORDS) $(DEPLOY) deploy $(HERE) $$OPTIONS

# Print every resource, its purpose, and the commands that create it, without calling Google Cloud.
plan:
	@$(WORDS) $(DEPLOY) plan $(HERE) $$OPTIONS

# Check that a deployment works and matches the plan; needs `gcloud auth login` and `gcloud auth application-default
# login`.
doctor: says-region $(VENV)/.local
	@$(WORDS) PYTHONPATH=deploy $(BIN)/atom-workflows doctor --project="$$PROJECT" --region="$$REGION" \
		--topic-prefix="$$PREFIX-" $(if $(BUCKET),--bucket="$$BUCKET") \
		$(if $(TASK_RUNNER_URL),--tr-url="$$TASK_RUNNER_URL") $$OPTIONS

says-region:
	@$(if $(REGION),,$(error REGION is not set: `gcloud functions list --project=$(or $(PROJECT),PROJECT)` shows where the functions are))

# Remove everything except the bucket, the database and dead letters; OPTIONS=--delete-data removes these, too.
destroy:
	@$(WORDS) $(DEPLOY) destroy $(THERE) $$OPTIONS

# Create, once, the accounts that cloudbuild.yaml and cloudbuild.checks.yaml run as.
deployer:
	@$(WORDS) $(DEPLOY) deployer $(HERE) $$OPTIONS

clean:
	rm -rf $(VENV) .bench build dist .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	@"$$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Atom Workflows needs Python 3.11 or newer; try: make PYTHON=python3.12 run")'
	@echo "Setting up $(VENV) ..."
	@"$$PYTHON" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }  # A partial one would be taken for complete next time.

# Only this project is built from source, with the pins in pyproject.toml: other builds would run unpinned packages.
$(VENV)/.local: $(VENV)/bin/python pyproject.toml constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --only-binary :all: --editable '.[local]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --only-binary :all: --editable '.[dev]'
	@touch $@ $(VENV)/.local $(VENV)/.docs

$(VENV)/.docs: $(VENV)/bin/python pyproject.toml constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --only-binary :all: --editable '.[docs]'
	@touch $@
