//! The `tokenstorm` command.

fn main() {}
