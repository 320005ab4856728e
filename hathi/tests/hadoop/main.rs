//! Our daemons and tools beside Hadoop's own, and ZooKeeper's.

mod caching;
mod client;
mod conversions;
mod features;
mod haadmin;
mod inotify;
mod mixed;
mod namenodes;
mod pipelines;
mod rolling_upgrade;
mod snapshots;
mod striped;
mod suites;
mod tokens;
mod viewers;
mod webhdfs;
mod zones;
mod zookeeper;
