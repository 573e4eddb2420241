//! The stages that a load makes.
