"""The server of ``mmstream serve``: one application that speaks the live protocol of docs/protocol.md, the APIs that
clients of OpenAI and Deepgram know, and a page for browsers; on threads in this process or on the workers of a cluster.

Only this package and ``mmstream.commands.serve`` import FastAPI.
"""
