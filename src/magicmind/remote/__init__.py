"""Work on another machine, by gRPC: calibrating a network, and running an offline model. docs/design/0015-remote.md.

`protocol`: the bytes. `server`, `store`, `jobs`: what `magicmind remote-server` does. `connection`: a client's way to
it; `calibrate` and `models` are what the facade and the tools call.
"""
