//! The results directory, tables and exports.
