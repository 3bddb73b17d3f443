"""What lets a session outlive its workers: consistent snapshots, replay at the source, no word shown twice.

Every few seconds a ``Barrier`` travels from a session's sources through the graph. Each worker saves the states of its
nodes as the barrier passes them (``cut``, ``saving``), and the source remembers where it was (``tape``). Together that
is a snapshot: what an uninterrupted run held at one point of the media. When a worker is lost, the session opens
elsewhere with the states of its last whole snapshot, the source plays what came since, and what comes out a second
time is recognised at the sinks (``shown``). After Chandy and Lamport, "Distributed Snapshots", 1985, and Carbone et
al., "Lightweight Asynchronous Snapshots for Distributed Dataflows", arXiv 1506.08603.
"""
