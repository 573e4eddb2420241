//! Forms the fleet, arms it, keeps the books.
