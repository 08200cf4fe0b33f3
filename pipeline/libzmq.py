"""Which libzmq is good enough. Pure.

pyzmq brings one with it, but may be built against the system's. `sockets` asks at the start of each process.
"""

from __future__ import annotations

from pipeline.errors import LibraryError

MIN_LIBZMQ = (4, 3, 3)
"""Before it a peer that only connects, or sends rubbish, can take memory, crash the process or keep all
others out, CURVE or not: GHSA-25wp-cf8g-938m (CVE-2020-15166), GHSA-qq65-x72m-9wr8, GHSA-4p5v-h92w-6wxw,
GHSA-wfr2-29gj-5w87 and GHSA-fc3w-qxf5-7hp6, all mended in 4.3.3; CVE-2019-13132 in 4.3.2."""


def check_libzmq(version: tuple[int, int, int]) -> None:
    """Refuse a libzmq that any peer can harm.

    Args:
        version: of the one that is loaded.

    Raises:
        LibraryError: it is too old.
    """
    if version < MIN_LIBZMQ:
        found, least = (".".join(map(str, each)) for each in (version, MIN_LIBZMQ))
        raise LibraryError(
            f"libzmq {found} is loaded; at least {least} is needed, for older ones can be crashed and filled "
            f"by any peer (CVE-2020-15166 and others): install a pyzmq that brings its own, or a newer libzmq"
        )
