"""A million photographs without their haze, on a Ray cluster or on this machine, from any storage to any other.

    pip install '.[ray]' s3fs
    python examples/million.py s3://trip/raw s3://trip/clear --actors 64 --report s3://trip/report

On a cluster: `ray job submit --working-dir examples -- python million.py ...`; then `--actors 8:256` lets it grow.
Run it again after a failure, or with more photographs: what is finished is skipped.
"""

import argparse
from collections import Counter

import ray

import nedr


def main(words: list[str] | None = None) -> int:
    """Dehaze a folder, print the outcomes, and return 1 if a photograph failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a folder of photographs, as any URL that fsspec knows")
    parser.add_argument("output", help="a folder for the results, as such a URL")
    parser.add_argument("--actors", default="2", help="how many run at once, or FEWEST:MOST")
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--report", help="a folder for a Parquet table with a row per photograph")
    options = parser.parse_args(words)
    fewest, _, most = options.actors.partition(":")

    ray.init(ignore_reinit_error=True)
    rows = nedr.ray.dehaze_files(
        nedr.ray.photographs(options.source),
        options.output,
        root=options.source,
        strength=options.strength,
        actors=(int(fewest), int(most or fewest)),
    ).materialize()  # the work is done here, once, however the rows are used
    if options.report:
        rows.write_parquet(options.report)
    counts = Counter[str]()
    for row in rows.iter_rows():
        counts[row["outcome"]] += 1
        if row["outcome"] == "failed":
            print(row["error"])
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
