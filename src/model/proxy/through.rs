//! The body of an answer on its way through: as it comes, and broken off when nothing comes for too long.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

/// The body.
pub(super) struct Through {
    body: Incoming,
    silence: Duration,
    late: Pin<Box<Sleep>>,
}

impl Through {
    /// Breaks off when nothing comes for so long.
    pub(super) fn new(body: Incoming, silence: Duration) -> Self {
        Self { body, silence, late: Box::pin(sleep(silence)) }
    }
}

impl Body for Through {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            let until = Instant::now() + self.silence;
            self.late.as_mut().reset(until);
            return polled.map_err(Into::into);
        }
        match self.late.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(format!("the provider said nothing for {} s", self.silence.as_secs()).into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
