//! An inference service to measure: OpenAI-style streaming, a latency model, faults, ground truth.
