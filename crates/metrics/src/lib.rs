//! What is measured and how it is merged: timelines, histograms, books, verdict. Pure.
