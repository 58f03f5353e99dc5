"""`ray_cluster.py ARGUMENTS`: run_corpus.py on a Ray cluster of two nodes; one is killed once a task is finished."""

import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

import run_corpus
from utils.console import one_sentence_errors


def main() -> int:
    arguments = sys.argv[1:]
    marks = Path(arguments[arguments.index("--output") + 1]) / "logs" / "completions"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "memory": 4 << 30})
    victim = cluster.add_node(num_cpus=1, memory=4 << 30)
    ray.init(address=cluster.address, log_to_driver=False, runtime_env={"py_modules": ["utils"]})

    def kill() -> None:
        while not (marks.is_dir() and list(marks.iterdir())):
            time.sleep(0.05)
        cluster.remove_node(victim, allow_graceful=False)
        print("a node was killed", file=sys.stderr, flush=True)

    threading.Thread(target=kill, daemon=True).start()
    try:
        return run_corpus.main(["--config", "recipes/corpus/ray.yaml", *arguments])
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    with one_sentence_errors():
        sys.exit(main())
