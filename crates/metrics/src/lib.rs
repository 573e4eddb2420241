//! What is measured and how it is merged: timelines, histograms, books, verdict. Pure.
//!
//! Every figure that a run reports is computed here, from values that came in as arguments: no clock is read, nothing
//! is sent, logged or written. So each number can be checked by hand against its definition.

#![deny(missing_docs, unused_results)]

mod books;
mod distribution;
mod metric;
mod warning;

pub use books::{Books, BooksError, FailureClass, Lost, NotSent};
pub use distribution::{DecodeError, Distribution, EncodedDistribution, MergeError};
pub use metric::{Kind, Metric};
pub use warning::Warning;
