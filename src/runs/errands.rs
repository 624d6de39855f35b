//! Errands of runs: what a tool of an agent wants of the daemon, such as another session's history or a run of its own. Who does them stands above the runs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::control::{Done, Errand};
use super::live::{Ended, Live};
use super::spec::Work;
use super::supervisor::Supervisor;
use crate::store::record::RunRecord;

/// What is done, in its own time.
pub type Doing<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An errand with all that is known of who sent it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The run whose tool wants it.
    pub run: RunRecord,
    /// Its work.
    pub work: Work,
    /// What it wants.
    pub errand: Errand,
    /// Fires when nobody waits for it any more. What was begun is to be brought to a state that lasts all the same.
    pub gone: CancellationToken,
}

/// Does errands.
pub trait Errands: Send + Sync {
    /// Does one. The same errand of the same run may come again, from the next daemon: what it starts is started once.
    fn run(&self, sent: Sent) -> Doing<Done>;

    /// A run has ended that somebody waits to hear of; said before its outcome is committed, and so perhaps more than once. `said` is what it said last.
    fn ended(&self, run: RunRecord, work: Work, ended: Ended, said: String) -> Doing<()>;
}

impl Supervisor {
    /// Who does errands from now on. Said once; errands wait until then.
    pub fn have_errands_done(&self, by: Arc<dyn Errands>) {
        if self.inner.errands.set(by).is_err() {
            warn!("errands are done by somebody already");
        }
    }

    pub(super) async fn do_errand(&self, live: &Arc<Live>, errand: Errand, gone: CancellationToken) -> Done {
        let work = match live.work() {
            Ok(work) => work,
            Err(cause) => return Done::failed(format!("the stored request cannot be read: {cause}")),
        };
        self.inner.errands.wait().await.run(Sent { run: live.record.clone(), work, errand, gone }).await
    }

    /// Tells of the end of a run that was started to be told of.
    pub(super) async fn tell_of_end(&self, live: &Arc<Live>, ended: &Ended, last: Option<String>) {
        let Ok(work) = live.work() else { return };
        if work.tell.is_none() || ended.outcome.merged_into.is_some() {
            return;
        }
        let said = last.unwrap_or_else(|| live.log.chat.answer().said(&ended.outcome).text);
        self.inner.errands.wait().await.ended(live.record.clone(), work, ended.clone(), said).await;
    }
}
