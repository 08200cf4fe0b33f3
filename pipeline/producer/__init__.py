"""What people pipe into: a tool's output becomes events, and `emit` sends them.

::

    stdin ──▶ adapters (ndjson, nmap) ──▶ events ──▶ emit ──▶ ingest
              simulate: a scan played ──▶ events ──┘

The adapters are pure and the simulation reads no clock; only `emit` touches pipes, time and sockets.
"""
