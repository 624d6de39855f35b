//! A stream that is written as one piece of code: what a future sends comes out of the stream, and the future goes on only while somebody reads.
//!
//! So an answer needs no task of its own, and dropping it drops the request with everything in it.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio_stream::Stream;

use super::{Event, Events, ModelError};

/// Items that wait between the reader of the wire and the reader of the stream.
const WAITING: usize = 64;

/// Where a future puts what it has to say.
#[derive(Clone, Debug)]
pub(super) struct Sink(mpsc::Sender<Result<Event, ModelError>>);

impl Sink {
    /// Hands one item over, waiting until there is room.
    pub(super) async fn send(&self, item: Result<Event, ModelError>) {
        // It fails only if nobody reads, and then the future is dropped anyway.
        let _ = self.0.send(item).await;
    }
}

struct Answer<F> {
    items: mpsc::Receiver<Result<Event, ModelError>>,
    body: Option<Pin<Box<F>>>,
}

impl<F: Future<Output = ()>> Stream for Answer<F> {
    type Item = Result<Event, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(item) = self.items.poll_recv(cx) {
            return Poll::Ready(item);
        }
        if let Some(body) = self.body.as_mut()
            && body.as_mut().poll(cx).is_ready()
        {
            self.body = None;
        }
        self.items.poll_recv(cx)
    }
}

/// The stream of what the future of `body` sends.
pub(super) fn stream<F, B>(body: B) -> Events
where
    F: Future<Output = ()> + Send + 'static,
    B: FnOnce(Sink) -> F,
{
    let (sender, items) = mpsc::channel(WAITING);
    Box::pin(Answer { items, body: Some(Box::pin(body(Sink(sender)))) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn what_a_future_sends_comes_out_in_order_and_then_the_end() {
        let events = stream(|sink| async move {
            for n in 0..200 {
                sink.send(Ok(Event::Text(n.to_string()))).await;
                if n % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
        let texts: Vec<Event> = events.map(Result::unwrap).collect().await;
        assert_eq!(texts, (0..200).map(|n| Event::Text(n.to_string())).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_future_runs_no_further_than_it_is_read_and_ends_with_its_stream() {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        let mut events = stream(|sink| async move {
            loop {
                sink.send(Ok(Event::BlockEnd)).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(sent.load(Ordering::Relaxed), 0);
        events.next().await.unwrap().unwrap();
        assert!(sent.load(Ordering::Relaxed) <= WAITING);
        drop(events);
        assert_eq!(Arc::strong_count(&sent), 1);
    }
}
