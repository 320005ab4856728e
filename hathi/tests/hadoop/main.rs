//! Our daemons and tools beside Hadoop's own, and ZooKeeper's.

mod caching;
mod client;
mod conversions;
mod features;
mod haadmin;
mod mixed;
mod namenodes;
mod pipelines;
mod snapshots;
mod suites;
mod viewers;
mod webhdfs;
mod zones;
mod zookeeper;
