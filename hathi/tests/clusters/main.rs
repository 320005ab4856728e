//! Whole clusters of real processes, of ours alone.

mod addresses;
mod birth;
mod chaos;
mod checkpoints;
mod closing_files;
mod cluster;
mod commands;
mod controller;
mod datanode_memory;
mod divergence;
mod doctor;
mod guide;
mod hdfs_native;
mod journal_members;
mod journalnodes;
mod metrics;
mod nameservices;
mod operator;
mod page;
mod racks;
mod roles;
mod shared_directory;
mod single;
mod standby_calls;
mod standby_history;
mod webhdfs;
