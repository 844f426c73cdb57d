#!/usr/bin/env python3
"""Drop damaged lines and duplicates from a file of orders."""

import csv
import sys
from pathlib import Path

from job import return_outputs

with Path(sys.argv[1]).open(newline="", encoding="utf-8") as opened:
    lines = list(csv.DictReader(opened))

orders = {}
for line in lines:
    if line["region"] and line["euros"].isdecimal():
        orders[line["id"]] = line
    else:
        print(f"damaged: {line}")

file = Path("clean.csv")
with file.open("w", newline="", encoding="utf-8") as opened:
    writer = csv.DictWriter(opened, ["id", "region", "euros"])
    writer.writeheader()
    writer.writerows(orders.values())
return_outputs(file=str(file.resolve()), dropped=len(lines) - len(orders))
