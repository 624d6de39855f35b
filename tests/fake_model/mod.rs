//! A model server that says what a script tells it to: Anthropic's messages, OpenAI's chat completions and responses, Google's generateContent and Amazon Bedrock's converse stream on one port, with errors, cuts and pauses wherever they are wanted.
//!
//! Tests take it as a module; `examples/fake_model.rs` makes a program of it. Signatures are checked and event-stream frames are written by Amazon's own crates, so that nothing of the gateway checks itself.

mod anthropic;
mod bedrock;
mod gemini;
mod http;
mod openai;
mod responses;
pub mod script;
mod signature;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use skykoi_gateway::tasks::Tasks;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

pub use script::{Answer, Fault, Route, Say};

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path and query, as they were sent.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body; null if it is not JSON.
    pub body: Value,
    /// Its body as text.
    pub text: String,
    /// What is wrong with its signature; empty if nothing is; none if it has none.
    pub signature: Option<String>,
    /// Which connection it came on, from 0.
    pub connection: usize,
}

impl Seen {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many holds may go on.
struct GoOn(Semaphore);

impl Default for GoOn {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

#[derive(Default)]
struct State {
    answers: Mutex<VecDeque<Answer>>,
    routes: Mutex<Vec<Route>>,
    seen: Mutex<Vec<Seen>>,
    /// When the first frame of each answer was written.
    spoke: Mutex<Vec<Instant>>,
    /// Secret keys by access key.
    keys: Mutex<Vec<(String, String)>>,
    came: Notify,
    gone: Notify,
    go_on: GoOn,
}

/// A server at work; it ends with this.
pub struct FakeModel {
    address: SocketAddr,
    state: Arc<State>,
    tasks: Tasks,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeModel {
    /// Starts one on a free port of the loopback.
    pub async fn start(answers: impl IntoIterator<Item = Answer>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, tasks) = (listener.local_addr()?, Tasks::new());
        let state = Arc::new(State { answers: Mutex::new(answers.into_iter().collect()), ..State::default() });
        let (shared, connections) = (state.clone(), tasks.clone());
        let accept = async move {
            let mut count = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                let stop = connections.stop_token();
                connections.spawn("fake model connection", async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        // Whoever breaks a connection finds out by itself.
                        _ = http::serve(stream, &state, count) => state.gone.notify_one(),
                    }
                });
                count += 1;
            }
        };
        let stop = tasks.stop_token();
        tasks.spawn("fake model", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = accept => {}
            }
        });
        Ok(Self { address, state, tasks })
    }

    /// Where it is, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds answers to the script.
    pub fn push(&self, answers: impl IntoIterator<Item = Answer>) {
        lock(&self.state.answers).extend(answers);
    }

    /// Answers requests to a path with a fixed text, before the script is looked at.
    pub fn route(&self, route: Route) {
        lock(&self.state.routes).push(route);
    }

    /// Knows an AWS key, so that signatures made with it are right.
    pub fn know(&self, access_key: &str, secret_key: &str) {
        lock(&self.state.keys).push((access_key.to_owned(), secret_key.to_owned()));
    }

    /// What came so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }

    /// When the first frame of each answer was written, in this order.
    pub fn spoke(&self) -> Vec<Instant> {
        lock(&self.state.spoke).clone()
    }

    /// Lets an answer go on behind a place where it is held, also one that it comes to later.
    pub fn go_on(&self) {
        self.state.go_on.0.add_permits(1);
    }

    /// The answers that nobody asked for yet.
    pub fn left(&self) -> usize {
        lock(&self.state.answers).len()
    }

    /// Waits until `count` requests have come.
    pub async fn until_seen(&self, count: usize) {
        let come = async {
            while lock(&self.state.seen).len() < count {
                self.state.came.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, come).await.expect("the requests did not come");
    }

    /// Waits until a connection has ended.
    pub async fn until_gone(&self) {
        tokio::time::timeout(PATIENCE, self.state.gone.notified()).await.expect("the connection did not end");
    }
}

impl Drop for FakeModel {
    fn drop(&mut self) {
        self.tasks.stop_token().cancel();
    }
}
