//! Typed calls: from a request's text to its answer's bytes. Knows no sockets.

pub mod call;
pub mod committed;
pub mod dispatch;
pub mod error;
pub mod method;
pub mod methods;
pub mod portal;
pub mod reference;
pub mod schema;
pub mod validate;
pub mod watching;
