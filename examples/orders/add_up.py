#!/usr/bin/env python3
"""Add up the orders of one region."""

import csv
import sys
from pathlib import Path

from job import return_outputs

region, path = sys.argv[1:]
with Path(path).open(newline="", encoding="utf-8") as opened:
    euros = [int(line["euros"]) for line in csv.DictReader(opened) if line["region"] == region]
print(f"{region}: {len(euros)} orders, {sum(euros)} euros")
return_outputs(euros=sum(euros))
