//! The macros of the broker.
