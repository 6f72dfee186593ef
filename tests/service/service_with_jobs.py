"""The service that is killed: `python tests/service/service_with_jobs.py JOBS GALLERY ARCHIVE`.

It indexes, says the number of its process that does so on stdout once that has begun, and waits for its end.
"""

import sys
import threading
from pathlib import Path

from index_processes import index_processes

from medsiglip_search.service.jobs.index_job import IndexRequest, index_work
from medsiglip_search.service.jobs.running import Jobs


def main() -> None:
    folder, gallery, archive = sys.argv[1:]
    jobs = Jobs(Path(folder))
    work = index_work(IndexRequest(("ward",)), "chest", Path(gallery), {"ward": archive})
    job = jobs.start("index", "chest", "ann", work)
    while not job.progress.word:
        job = jobs.wait_for_change(job.id, job)
    print(*index_processes(), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
