"""A small fleet of agents.

A coordinator takes jobs over HTTP, asks a language model for a plan, and has workers execute
its steps. Several coordinators may run; a lease decides which of them leads.
"""

from fleet.coordinator import Coordinator, Job
from fleet.keeper import HttpLeaseStore, Keeper
from fleet.lease import (
    Lease,
    LeaseStore,
    MemoryLeaseStore,
    RedisLeaseStore,
    StoreUnreachableError,
)
from fleet.planner import Plan, Planner, PlanningError, Step
from fleet.server import Request, Server
from fleet.tools import REGISTRY, Tool, tool
from fleet.worker import Worker

__all__ = [
    "REGISTRY",
    "Coordinator",
    "HttpLeaseStore",
    "Job",
    "Keeper",
    "Lease",
    "LeaseStore",
    "MemoryLeaseStore",
    "Plan",
    "Planner",
    "PlanningError",
    "RedisLeaseStore",
    "Request",
    "Server",
    "Step",
    "StoreUnreachableError",
    "Tool",
    "Worker",
    "tool",
]
