//! The complete URL of a target.
