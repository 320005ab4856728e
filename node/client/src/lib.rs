//! An HDFS client: metadata calls that fail over, and files read and written through DataNodes.
//!
//! It lives on the caller's tokio runtime; every wait is a future.

mod error;
mod filesystem;
mod input;
mod output;
mod pipeline;
mod stream;

pub use error::ClientError;
pub use filesystem::{CreateOptions, FileSystem, FileSystemOptions};
pub use input::FileReader;
pub use output::FileWriter;
