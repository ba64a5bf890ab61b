"""Answers for millions of pictures: in shards of parquet, on all cores or a Ray cluster, going on after any kill."""
