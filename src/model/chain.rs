//! The models of one agent in the order in which they are asked.

use super::endpoint::Endpoint;
use super::{ErrorKind, Events, Model, ModelError, Request};

/// A primary model and its fallbacks.
#[derive(Debug)]
pub(super) struct Chain {
    endpoints: Vec<Endpoint>,
}

impl Chain {
    pub(super) fn new(endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints }
    }
}

impl Model for Chain {
    fn ask(&self, _request: &Request) -> Events {
        let message = match self.endpoints.first() {
            None => "no model is configured; set `agents.defaults.model`".to_owned(),
            Some(endpoint) => format!("{}: this version does not speak the API of this provider", endpoint.provider),
        };
        let error = ModelError { kind: ErrorKind::BadRequest, message, retry_after_ms: None };
        Box::pin(tokio_stream::once(Err(error)))
    }
}
