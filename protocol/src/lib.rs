//! What coordinator and workers say to each other, and what the journal holds.
