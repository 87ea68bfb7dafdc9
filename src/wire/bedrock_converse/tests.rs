//! The format by what vendors once sent, by table, in a long conversation and under fire.

mod agent;
mod encode;
mod fuzz;
mod messages;
mod recorded;
