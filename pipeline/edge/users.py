"""What each user has open and how fast it asks, where there are accounts: bounded for each alone. Pure.

`visitors` does the same by address; a user may come from many. A user is the `sub` of a token that was
accepted, so nobody can use up another's share. The bounds are of one edge.

================================================= ====================================================
a user                                            is
================================================= ====================================================
has `max_connections` streams                     refused a further one: closed with 4029, or 503
opens streams or asks faster than                 refused: 429 and when to come back; a WebSocket is
`requests_per_s`, past `request_burst`            closed with 4029
has `max_subscriptions` on all its connections    answered with the error 4029
posts faster than `posts_per_s`, past             answered 429, and when to come back
`post_burst`
sends messages faster than `messages_per_s`,      closed with 4029: the connection that sent the last
past `message_burst`
has `max_exports` files and comparisons under way answered 429, and when to come back
================================================= ====================================================
"""

from __future__ import annotations

from pipeline.edge.accounts_section import UsersSection
from pipeline.edge.visitors import Places, Rate, Rates


class Users:
    """Args:
    limits: what each may have and do.

    Attributes:
        connections: streams that are open.
        subscriptions: scans subscribed to on streams of several.
        exports: files and comparisons under way.
        requests: how fast each asks, and opens streams.
        posts: how fast each posts events.
        messages: how fast each sends messages.
    """

    def __init__(self, limits: UsersSection) -> None:
        self.connections = Places(limits.max_connections)
        self.subscriptions = Places(limits.max_subscriptions)
        self.exports = Places(limits.max_exports)
        self.requests = Rates(Rate(limits.requests_per_s, limits.request_burst))
        self.posts = Rates(Rate(limits.posts_per_s, limits.post_burst))
        self.messages = Rates(Rate(limits.messages_per_s, limits.message_burst))

    def follow(self, limits: UsersSection) -> None:
        """Judge by other limits from now on; what is open stays so."""
        self.connections.follow(limits.max_connections)
        self.subscriptions.follow(limits.max_subscriptions)
        self.exports.follow(limits.max_exports)
        self.requests.follow(Rate(limits.requests_per_s, limits.request_burst))
        self.posts.follow(Rate(limits.posts_per_s, limits.post_burst))
        self.messages.follow(Rate(limits.messages_per_s, limits.message_burst))

    @property
    def known(self) -> int:
        """How many users are remembered."""
        rates = (self.requests, self.posts, self.messages)
        places = (self.connections, self.subscriptions, self.exports)
        return len(set().union(*(each.names for each in (*rates, *places))))
