//! HTTP as Hadoop's daemons speak it: a small server and client over hyper, `/jmx`, `/conf` and `/health`.

pub mod client;
pub mod conf;
pub mod health;
pub mod jmx;
pub mod log_level;
pub mod pages;
pub mod server;

pub use client::{HttpError, exchange, get, get_bytes, next_piece, put};
pub use hyper::body::Incoming;
pub use hyper::header;
pub use hyper::{HeaderMap, Method, StatusCode, Uri};
pub use server::{
    Body, BodySender, HttpHandler, HttpRequest, HttpResponse, HttpServer, Query, RequestHead, body_channel, bytes,
    error, json, no_answer, text,
};
