//! Whole runs of the built command against a simulator: what it prints, writes and returns.

mod bad_input;
mod failures;
mod interrupt;
mod measured;
mod secrets;
mod support;
