//! Runs the tools that a message of the model uses, and gives exactly one result for each use, whatever happens.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::host::AgentEvent;
use super::tools::bound::{RESULT_BYTES, bounded};
use super::tools::{Call, Context, Given, Tool};
use crate::model::Block;
use crate::tasks::CatchPanic;

/// How many tools run at once, those that only read.
const AT_ONCE: usize = 8;
/// How much longer than the end of its command a tool may take after a stop. Together with that it stays below what the shim grants a whole turn, else nobody would hear of the results.
const TOOL_LIMIT: Duration = Duration::from_millis(500);
/// Room beyond [`RESULT_BYTES`] for what tools say themselves.
const SLACK: usize = 4096;

/// A use of a tool.
#[derive(Clone, Debug)]
pub(super) struct Use {
    /// The call.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Its arguments.
    pub input: Value,
    /// Why it must not run.
    pub wrong: Option<String>,
}

/// The results of all uses, in their order, and the first failure to write down that one begins or has ended.
pub(super) async fn run_all(context: &Arc<Context>, tools: &[&'static Tool], uses: Vec<Use>) -> (Vec<Block>, io::Result<()>) {
    let (mut results, mut written) = (Vec::with_capacity(uses.len()), Ok(()));
    let mut uses = uses.into_iter().peekable();
    let reads = |used: &Use| tools.iter().any(|tool| tool.name == used.name && tool.reads_only);
    while let Some(first) = uses.next() {
        let mut batch = vec![first];
        while batch.len() < AT_ONCE
            && batch.iter().all(reads)
            && let Some(next) = uses.next_if(|next| reads(next))
        {
            batch.push(next);
        }
        let refused = written.is_err();
        let running = batch.into_iter().map(|used| -> Pin<Box<dyn Future<Output = Done> + Send>> {
            let tool = tools.iter().find(|tool| tool.name == used.name).copied();
            let known: Vec<&str> = tools.iter().map(|tool| tool.name).chain(context.mcp.names()).collect();
            Box::pin(one(Arc::clone(context), tool, used, known.join(", "), refused))
        });
        for done in together(running.collect()).await {
            results.push(done.result);
            if written.is_ok() {
                written = done.written;
            }
        }
    }
    (results, written)
}

/// What became of a use.
struct Done {
    result: Block,
    written: io::Result<()>,
}

async fn one(context: Arc<Context>, tool: Option<&'static Tool>, used: Use, known: String, refused: bool) -> Done {
    let host = Arc::clone(&context.host);
    let give = |given: Given| Block::ToolResult { id: used.id.clone(), content: given.content, is_error: given.is_error };
    let not_begun = |why: &str| give(Given::error(why));
    if host.stop().is_cancelled() {
        return Done { result: not_begun("Cancelled before it ran."), written: Ok(()) };
    }
    if refused {
        return Done { result: not_begun("It did not run: what happens can no longer be written down."), written: Ok(()) };
    }
    let args = tool.map_or_else(|| used.input.clone(), |tool| (tool.shown)(&context, &used.input));
    if let Err(failed) = host.emit(&AgentEvent::ToolStart { id: used.id.clone(), name: used.name.clone(), args }) {
        return Done { result: not_begun("It did not run: that it begins could not be written down."), written: Err(failed) };
    }
    let begun = Instant::now();
    let given = match (tool, &used.wrong) {
        (_, Some(wrong)) => Given::error(wrong.clone()),
        (None, None) => {
            let given = context.mcp.call(&used.name, &used.input, host.stop()).await;
            given.unwrap_or_else(|| Given::error(format!("There is no tool named {}. There are: {known}.", used.name)))
        }
        (Some(tool), None) => guarded(&context, tool, Call { id: used.id.clone(), input: used.input.clone() }).await,
    };
    let given = cut(given);
    let event = AgentEvent::ToolResult {
        id: used.id.clone(),
        name: used.name.clone(),
        is_error: given.is_error,
        result: given.words(),
        exit_code: given.exit_code,
        signal: given.signal.clone(),
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let written = host.emit(&event);
    Done { result: give(given), written }
}

/// Runs a tool: its panic is a failed result, and so is no end at all after a stop.
async fn guarded(context: &Arc<Context>, tool: &Tool, call: Call) -> Given {
    let patience = context.commands.ending().saturating_add(TOOL_LIMIT);
    let stop = context.host.stop();
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(patience).await;
    };
    tokio::select! {
        given = CatchPanic((tool.run)(Arc::clone(context), call)) => {
            given.unwrap_or_else(|| Given::error(format!("The tool {} failed inside; this is a fault of the gateway.", tool.name)))
        }
        () = too_late => Given::error("Cancelled."),
    }
}

/// A result as long as it may be, and never without content.
fn cut(mut given: Given) -> Given {
    for block in &mut given.content {
        if let Block::Text { text } = block
            && text.len() > RESULT_BYTES + SLACK
        {
            *text = bounded(text, RESULT_BYTES);
        }
    }
    given.content.retain(|block| !matches!(block, Block::Text { text } if text.is_empty()));
    if given.content.is_empty() {
        given.content.push(Block::Text { text: "(nothing)".to_owned() });
    }
    given
}

/// Waits for all of them; what they give stands in their order.
async fn together<T: Unpin>(futures: Vec<Pin<Box<dyn Future<Output = T> + Send>>>) -> Vec<T> {
    let mut slots: Vec<_> = futures.into_iter().map(|future| (Some(future), None)).collect();
    poll_fn(|cx| {
        for (future, given) in &mut slots {
            if let Some(Poll::Ready(value)) = future.as_mut().map(|future| future.as_mut().poll(cx)) {
                (*future, *given) = (None, Some(value));
            }
        }
        if slots.iter().all(|(future, _)| future.is_none()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    slots.into_iter().filter_map(|(_, given)| given).collect()
}
