//! Frames of Hadoop RPC without I/O.
