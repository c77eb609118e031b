"""One test run: workers, schedule, isolation, guards, reruns, timeouts, quarantine, recording."""
