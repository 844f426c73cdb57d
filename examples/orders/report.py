#!/usr/bin/env python3
"""Write a report from arguments such as `north=120 south=80`."""

import sys
from pathlib import Path

from job import return_outputs

sales = {region: int(euros) for region, euros in (argument.split("=") for argument in sys.argv[1:])}
total = sum(sales.values())
best = max(sales, key=lambda region: sales[region])

lines = [f"{region:6} {euros:9,} euros" for region, euros in sorted(sales.items(), key=lambda one: -one[1])]
report = "\n".join([*lines, f"{'total':6} {total:9,} euros", ""])
print(report, end="")
file = Path("report.txt")
file.write_text(report, encoding="utf-8")
return_outputs(file=str(file.resolve()), euros=total, best=best)
