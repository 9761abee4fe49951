#!/bin/sh
# What `make demo` shows: a store from the sample telemetry, the sample alerts enriched, one card, one driver followed back,
# one report.
# Usage: demo.sh CBSIGNED   (the installed command)
set -eu
cbsigned=$1
out=demo-out
rm -rf "$out" && mkdir "$out"
samples=$("$cbsigned" samples)

echo "1. A store from the sample telemetry: $out/sample.db"
"$cbsigned" store ingest --store "$out/sample.db" "$samples/telemetry" --output table

echo
echo "2. The sample alerts, enriched"
"$cbsigned" enrich --store "$out/sample.db" "$samples/alerts.jsonl" --output table --report "$out/report.html" ||
    test $? -eq 1  # 1: one sample alert is malformed, on purpose

echo
echo "3. One of them as a card: a tool that drops a copy of itself and a driver. Everything down to it is signed."
grep procmon64.exe "$samples/alerts.jsonl" | head -n 1 | "$cbsigned" enrich --store "$out/sample.db" --card --output table -

echo "4. Where did the driver come from? Who wrote it, who wrote that program; who loaded and deleted it."
"$cbsigned" related --store "$out/sample.db" --output table 21bdf404d829667477160f3942f7159a

echo "All of it as a page, with the lineages drawn: $out/report.html"
echo
echo "Try yourself:"
echo "  $cbsigned signed --store $out/sample.db 3d485deffe2f74d0c15f1cb23086f936"
echo "  $cbsigned process --store $out/sample.db 00000001-0000-0f40-01d2-e4ee910d2930"
echo "  $cbsigned search process --store $out/sample.db 'digsig_result:Unsigned'"
echo "  $cbsigned store info --store $out/sample.db"
echo "  $cbsigned --help"
