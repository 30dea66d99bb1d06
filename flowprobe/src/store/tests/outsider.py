"""Answers each line, a number and the folder of a store, with what DuckDB finds in the files at that moment: rows, such that differ,
those with fewer octets than the number, and those that are garbled or in the folder of another hour."""

import sys
try:
    import duckdb
except ImportError:
    sys.exit("no duckdb")
connection = duckdb.connect()
connection.execute("SET threads = 2")
SQL = """
    SELECT count(*), count(DISTINCT octetDeltaCount), count(*) FILTER (octetDeltaCount < ?),
        count(*) FILTER (packetDeltaCount <> 1 + octetDeltaCount % 100 OR NOT contains(filename,
            strftime(make_timestamp(epoch_ms(flowEndMilliseconds) * 1000), '/hour=%Y-%m-%dT%H/')))
    FROM read_parquet(?, filename = true)
"""
print("ready", flush=True)
for line in sys.stdin:
    before, folder = line.rstrip("\n").split(" ", 1)
    files = folder + "/flows/**/*.parquet"
    try:
        print(*connection.execute(SQL, [int(before), files]).fetchone(), flush=True)
    except duckdb.IOException as error:
        missing = ["No files found that match the pattern", "No such file or directory"]
        if not any(text in str(error) for text in missing):
            print("failed " + str(error).replace("\n", " "), flush=True)
        else:
            # There is no file at all, or one was gone when it was to be read.
            print("none" if files in str(error) else "gone", flush=True)
    except Exception as error:
        print("failed " + str(error).replace("\n", " "), flush=True)
