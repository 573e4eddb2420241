//! One streamed request: server-sent events, the OpenAI APIs, sockets, TLS and timestamps.
