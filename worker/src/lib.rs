//! Sends its share of the load and measures it.
