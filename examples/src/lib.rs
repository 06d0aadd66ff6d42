//! Code that the examples share.
