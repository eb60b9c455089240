"""A chat on a Sociable cluster.

* `app`: the routes, for pages and for the cluster.
* `chat`: what the chat does when a client connects, emits an event or leaves.
* `webhooks`: requests of the cluster, and the answers to them. `signature`: proof that the cluster sent them.
* `cluster`: calls to the API of the cluster.
* `login`: accounts and tokens. `history`: the last messages of each room. `settings`: the environment.
"""
