#!/bin/sh
# What `make demo` shows: a store from the sample telemetry, the sample alerts enriched, one card, one report.
# Usage: demo.sh CBSIGNED   (the installed command)
set -eu
cbsigned=$1
out=demo-out
rm -rf "$out" && mkdir "$out"
samples=$("$cbsigned" samples)

echo "1. A store from the sample telemetry"
"$cbsigned" store ingest --store "$out/sample.db" "$samples/telemetry" --output table

echo
echo "2. The sample alerts, enriched"
"$cbsigned" enrich --store "$out/sample.db" "$samples/alerts.jsonl" --output table --report "$out/report.html" ||
    test $? -eq 1  # 1: two sample alerts cannot be read, on purpose

echo
echo "3. One of them as a card: the driver that was loaded and deleted"
grep procmon64.exe "$samples/alerts.jsonl" | head -n 1 | "$cbsigned" enrich --store "$out/sample.db" --card --output table -

echo
echo "The same as a page, with every lineage drawn: $PWD/$out/report.html"
