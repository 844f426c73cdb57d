#!/usr/bin/env python3
"""Make a file of orders: of 1, 2, 3, … euros in four regions, with damaged lines and duplicates in between."""

import csv
import random
import sys
from pathlib import Path

from job import return_outputs

REGIONS = ("north", "south", "east", "west")

count = int(sys.argv[1])
chance = random.Random(2026)  # The same orders each time.
orders = [[f"order-{number}", chance.choice(REGIONS), str(number)] for number in range(1, count + 1)]
duplicates = chance.sample(orders, count // 50)
damaged = [[f"order-{number}", "", "n/a"] for number in range(count // 100)]
lines = orders + duplicates + damaged
chance.shuffle(lines)

file = Path("orders.csv")
with file.open("w", newline="", encoding="utf-8") as opened:
    csv.writer(opened).writerows([["id", "region", "euros"], *lines])
print(f"made {len(lines)} lines: {len(orders)} orders, {len(duplicates)} duplicates, {len(damaged)} damaged")
return_outputs(file=str(file.resolve()))
