//! Safe bindings to LAME.
