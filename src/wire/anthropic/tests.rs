//! The format by table.
