//! The loop against a model that follows a script and a host that takes everything down.

mod conversations;
mod fakes;
mod tools;

pub(super) use fakes::spec;
