"""What `scripts/bench` runs.

`__main__` reads the command line, `scenarios` says what is measured and how much is wanted, `server` starts nginx,
`measuring` lets the contenders take turns, each in a process of its own, which `team` starts and `worker` is,
`contenders` are the clients, `results` compares, `report` and `plot` write what came out.

The workers of the peers run in a virtual environment of their own, from this package alone. So nothing that a worker
loads may import `httpcore`, except the contender that is ours.
"""
