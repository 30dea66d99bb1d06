//! The dashboard, its JSON API and the metrics, over HTTP. It shows and changes nothing: there are only GET and HEAD.
//!
//! ```text
//! accept ─► TLS ─► HTTP/1.1 ─► guard: method, host, token, headers ─┬─► pages and other files, which the binary has compressed
//!   bounded in number and time                                      ├─► state: the last drain, as `flowprobe status` has it
//!                                                                   ├─► live: the last seconds, while somebody looks
//!                                                                   └─► pool ─► history: few at a time, at low priority
//! ```

mod api;
mod assets;
mod baseline;
mod guard;
mod live;
mod server;
mod view;

pub use live::Live;
pub use server::{Server, WebState};
