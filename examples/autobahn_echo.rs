//! An echo server on the gateway's own sockets, for the Autobahn test suite. `tests/autobahn/run.sh` starts it: it prints its address and runs until it is killed.

#[path = "../tests/support/echo.rs"]
mod echo;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use skykoi_gateway::tasks::Tasks;
use skykoi_gateway::transport::admission::Caps;
use skykoi_gateway::transport::http::Rules;
use skykoi_gateway::transport::listener::{Bind, ListenSettings, bind};
use skykoi_gateway::transport::wire::ReadLimits;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (_keep, rules) = tokio::sync::watch::channel(Arc::new(Rules::default()));
    // The suite sends messages of 16 MiB, some of them in a hundred thousand fragments. The gateway's own limits have their tests in `tests/it/raw_frames.rs`.
    let limits = ReadLimits { max_message_bytes: 64 << 20, max_fragments: 1 << 20, message_timeout: Duration::from_secs(60) };
    let settings = ListenSettings { bind: Bind::Loopback, port: 0, tls: None, local: None, limits, caps: Caps::default(), rules };
    let bound = bind(settings).await?;
    let address = bound.addresses().first().copied().ok_or("nothing bound")?;
    let tasks = Tasks::new();
    let _listeners = bound.serve(Arc::new(echo::Echo { binary: true, ..echo::Echo::default() }), &tasks);
    #[expect(clippy::print_stdout, reason = "the script that starts this reads the address from here")]
    {
        println!("ws://{address}");
    }
    tasks.stop_token().cancelled().await;
    Ok(())
}
