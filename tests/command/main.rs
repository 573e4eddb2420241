//! Whole runs of the built command against a simulator: what it prints, writes and returns.

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

mod bad_input;
mod calibrate;
mod capacity;
mod classes;
mod compare;
mod early_ends;
mod examples;
mod exports;
mod failures;
mod fleet;
mod fleet_inputs;
mod fleet_links;
mod fleet_losses;
mod fleet_many;
mod fleet_refusals;
mod fleet_support;
mod full_disk;
mod hold;
mod http2;
mod import;
mod interrupt;
mod limits;
mod live;
mod measured;
mod objectives;
mod plan;
mod records;
mod report;
mod secrets;
mod sessions;
mod shapes;
mod ssh_fleet;
mod support;
mod sweep;
mod telemetry;
mod tired;
mod tokens;
mod verdicts;
