"""Signing columns for a stream: an example of Spark's Structured Streaming with the look-ups of a back-fill.

    spark-submit packaging/spark/stream.py EVENTS OUTPUT CHECKPOINT

Parquet files that appear in EVENTS, each with a column process_md5, come out in OUTPUT/batch=N with the signing
columns. Every batch asks for its distinct hashes once, in the driver, and what is known stands in the cache, which
`cbsigned config` shows: the EDR or store, its token and the cache's file are configured as for every command. A batch
that Spark repeats after a crash writes its own folder over, so each row is there once. Replace the source below by a
Kafka topic or a Delta table to taste; this example was run with files alone.
"""

from __future__ import annotations

import argparse
import os
import sys

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import broadcast, coalesce, col, lit

from cbsigned.backfill.answers import SIGNING, Answers
from cbsigned.backfill.work import NOTHING
from cbsigned.cli import Context

KEY = "process_md5"
TYPES = ", ".join(["k STRING", *(f"{name} {'BOOLEAN' if name == 'signed' else 'STRING'}" for name in SIGNING)])


def main() -> None:
    """Process what is in the folder now, and end; a trigger of your own keeps it running."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("events", "output", "checkpoint"):
        parser.add_argument(name)
    places = parser.parse_args()
    configured = argparse.Namespace(store=None, config=None, output="json")
    context = Context(configured, sys.stdout, sys.stderr, os.environ)
    answers = Answers(context.sources(), context.settings, "parquet", "cbsigned_")
    spark = SparkSession.builder.appName("cbsigned stream").getOrCreate()

    def enriched(batch: DataFrame, number: int) -> None:
        keyed = batch.withColumn("k", coalesce(col(KEY), lit(NOTHING)))
        keys = [row.k for row in keyed.select("k").distinct().collect() if row.k != NOTHING]
        rows = [*answers.of_hashes(keys), *answers.constants("hash", guid=False)]
        table = spark.createDataFrame([(row["k"], *(row[name] for name in SIGNING)) for row in rows], TYPES)
        named = table.selectExpr("k", *(f"{name} AS cbsigned_{name}" for name in SIGNING))
        whole = keyed.join(broadcast(named), "k", "left").drop("k")
        whole.write.mode("overwrite").parquet(f"{places.output}/batch={number}")

    schema = spark.read.parquet(places.events).schema
    stream = spark.readStream.schema(schema).option("maxFilesPerTrigger", 100).parquet(places.events)
    writer = stream.writeStream.foreachBatch(enriched).option("checkpointLocation", places.checkpoint)
    writer.trigger(availableNow=True).start().awaitTermination()
    context.close()
    spark.stop()


if __name__ == "__main__":
    main()
