//! A load generator. One process opens thousands of sockets, writes at given times whether or not answers come (open
//! loop), checks what arrives, and prints what the server took for it.
//!
//! Both ends of every measured time are in this process, on one clock. A run in which the generator itself was the
//! bottleneck is refused.

pub mod arrivals;
pub mod chart;
pub mod clock;
pub mod limits;
pub mod people;
pub mod process;
pub mod recorder;
pub mod report;
pub mod rooms;
pub mod run;
pub mod scenario;
pub mod sequence;
pub mod socket;
