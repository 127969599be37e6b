"""jupyter_client driven directly: no sandbox, no bridge, no limits. Prints the same figures as the workload kernels, as one line of JSON."""

import json
import os
import sys
import threading
import time

os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a warning for each kernel otherwise

from jupyter_client import KernelManager

seconds, count = float(sys.argv[1]), int(sys.argv[2])


def start():
    began = time.perf_counter()
    manager = KernelManager(transport="ipc")
    manager.start_kernel(extra_arguments=["--HistoryManager.enabled=False"])
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    execute(client)
    return manager, client, time.perf_counter() - began


def execute(client):
    sent = client.execute("1 + 1", allow_stdin=False)
    while True:
        message = client.get_iopub_msg(timeout=30)
        if message["parent_header"].get("msg_id") == sent and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            break
    while client.get_shell_msg(timeout=30)["parent_header"].get("msg_id") != sent:
        pass


def resident(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024


def end(kernels):
    for manager, client, _ in kernels:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


starts = []
for _ in range(5):
    one = start()
    starts.append(one[2])
    if len(starts) < 5:
        end([one])
trips = []
for _ in range(500):
    began = time.perf_counter()
    execute(one[1])
    trips.append((time.perf_counter() - began) * 1000)
memory = resident(one[0].provisioner.pid)
end([one])

kernels = [start() for _ in range(count)]
done = [0] * count
until = time.monotonic() + seconds


def drive(i):
    while time.monotonic() < until:
        execute(kernels[i][1])
        done[i] += 1


threads = [threading.Thread(target=drive, args=(i,)) for i in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
end(kernels)
trips.sort()
print(json.dumps({
    "cold_s": starts[0], "warm_s": sorted(starts[1:])[2], "p50_ms": trips[250], "p99_ms": trips[495], "mebibytes": memory, "cells_per_second": sum(done) / seconds}))
