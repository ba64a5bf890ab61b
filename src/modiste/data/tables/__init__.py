"""Images that come as arrays or tables: in memory, .npz, CSV of pixels, parquet."""
