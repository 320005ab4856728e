//! An HDFS client: metadata calls that fail over, and files read and written through DataNodes.
//!
//! It runs on the caller's tokio runtime, and never blocks.

mod checksum;
mod crypto;
mod error;
mod filesystem;
mod input;
mod namenodes;
mod output;
mod striped;

pub use checksum::FileChecksum;
pub use error::ClientError;
pub use filesystem::{CreateOptions, FileSystem, FileSystemOptions, TRASH};
pub use input::FileReader;
pub use namenodes::{connect, namenodes, unknown_host};
pub use output::FileWriter;
