//! WebHDFS: operations, parameters and JSON (`org.apache.hadoop.hdfs.web`).
//!
//! A request is `METHOD /webhdfs/v1/PATH?op=OP&...`. Names of parameters and operations may be in any case. An answer is
//! JSON, bytes of a file, or empty; a refusal is the JSON of an exception with its Java class, from which Hadoop's client
//! makes the exception again.

mod json;
mod op;
mod parameters;
mod values;

pub use json::*;
pub use op::{HttpMethod, Op};
pub use parameters::{Parameters, encode_component, encode_path, is_user_name, path_of};
pub use values::{Encoding, acl_spec, action, decode_xattr, is_excluded, token_of_url_string, token_url_string, xattr};

use crate::exceptions::{self, ExceptionClass, RemoteException};

/// What the path of every request begins with (`WebHdfsFileSystem.PATH_PREFIX`).
pub const PATH_PREFIX: &str = "/webhdfs/v1";
/// Name of the user of a request that names none, if `hadoop.http.staticuser.user` is not set.
pub const STATIC_USER: &str = "dr.who";

/// The HTTP status of an exception (`web.resources.ExceptionHandler`).
#[must_use]
pub fn status(refused: &RemoteException) -> u16 {
    use ExceptionClass as C;
    let Some(class) = refused.class() else {
        return 403;
    };
    match class {
        C::FileNotFound => 404,
        C::UnsupportedOperation | C::IllegalArgument | C::HadoopIllegalArgument | C::InvalidPath => 400,
        // Neither an IOException nor a wrong argument.
        C::Assertion | C::IllegalState | C::ClassNotFound => 500,
        _ => 403,
    }
}

/// Refuses a value of a parameter, with the text of Hadoop's `ParamException`.
fn invalid(name: &str, why: impl std::fmt::Display) -> RemoteException {
    RemoteException::new(
        exceptions::ILLEGAL_ARGUMENT,
        format!("Invalid value for webhdfs parameter \"{name}\": {why}"),
    )
}

#[cfg(test)]
mod tests;
