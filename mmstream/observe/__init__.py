"""What a run tells of itself: metrics for Prometheus, and spans from which `mmstream trace` draws each word's way.

``metrics`` is counted everywhere, and exported on Ray alone (``ray_metrics``). Spans are written only where a folder
for them was given (``spans``); ``watch`` is what a worker calls for both. ``reading``, ``waterfall`` and ``perfetto``
turn the files into the answer to where a word's latency went.
"""
