//! The models of one agent in the order in which they are asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::answer::{Sink, stream};
use super::door::{Door, Doors};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::notice::{Notice, Told};
use super::{ErrorKind, Events, Model, ModelError, Request};

/// A primary model and its fallbacks.
pub(super) struct Chain {
    doors: Doors,
    told: Told,
    /// Whose answer it is that comes, or came last.
    answering: Arc<AtomicUsize>,
}

impl Chain {
    pub(super) fn new(endpoints: Vec<Endpoint>, told: Told) -> Self {
        Self { doors: endpoints.into_iter().map(Door::new).collect(), told, answering: Arc::default() }
    }
}

impl Model for Chain {
    fn ask(&self, request: &Request) -> Events {
        let (doors, told, request, answering) = (self.doors.clone(), self.told.clone(), request.clone(), Arc::clone(&self.answering));
        stream(|sink| async move {
            if let Err(error) = ask(&doors, &told, &request, &answering, &sink).await {
                sink.send(Err(error)).await;
            }
        })
    }

    fn answering(&self) -> usize {
        self.answering.load(Ordering::Relaxed)
    }
}

async fn ask(doors: &Doors, told: &Told, request: &Request, answering: &AtomicUsize, sink: &Sink) -> Result<(), ModelError> {
    let mut failures: Vec<Failure> = Vec::new();
    for (index, door) in doors.iter().enumerate() {
        if let Some(last) = failures.last() {
            // Only a larger window takes what was too long.
            let longest = doors.iter().take(index).map(|door| door.endpoint.context_window).max();
            if last.error.kind == ErrorKind::ContextLength && longest >= Some(door.endpoint.context_window) {
                continue;
            }
            told.tell(Notice::Next { error: last.error.clone(), endpoint: index });
        }
        answering.store(index, Ordering::Relaxed);
        // A future of this size is better off on the heap than in each that waits for it.
        let Err(failure) = Box::pin(door.ask(request, sink, told)).await else { return Ok(()) };
        if failure.begun {
            return Err(failure.error);
        }
        let elsewhere = failure.elsewhere;
        failures.push(failure);
        if !elsewhere {
            break;
        }
    }
    Err(summary(failures))
}

/// The failure of the primary, with what the others said.
fn summary(failures: Vec<Failure>) -> ModelError {
    let mut errors = failures.into_iter().map(|failure| failure.error);
    let Some(mut first) = errors.next() else {
        let message = "no model is configured; set `agents.defaults.model`".to_owned();
        return ModelError { kind: ErrorKind::BadRequest, message, retry_after_ms: None };
    };
    for other in errors {
        first.message.push_str("; then ");
        first.message.push_str(&other.message);
        first.retry_after_ms = first.retry_after_ms.min(other.retry_after_ms).or(first.retry_after_ms);
    }
    first
}
