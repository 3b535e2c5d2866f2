"""A real single-node Kubernetes on the machine itself, where no Docker engine can run one.

The node lives in namespaces of its own (processes, mounts, network). So nothing it does shows on the machine: its iptables
rules, mounts, interfaces and sockets are in there and vanish with its first process, however the cluster came to its end.
What remains outside is one end of a network link, which vanishes likewise, a cgroup, and files below `.cluster/`.
"""
