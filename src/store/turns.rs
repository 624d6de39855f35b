//! What the store knows of turns: which run answers which others, and whose transcript is not complete.

use super::error::StoreError;
use super::op::{Applied, Found, Op, Query};
use super::record::{Accepted, NewRun, RunRecord};
use super::{Store, mismatch};
use crate::protocol::run::Outcome;

impl Store {
    /// As [`Store::finish_run`], for a run whose transcript could not be written: it is tried again at the next start.
    ///
    /// # Errors
    /// As [`Store::finish_run`].
    pub async fn finish_untold(&self, file_id: &str, outcome: Outcome, head: u64) -> Result<bool, StoreError> {
        match self.apply(Op::Finish { file_id: file_id.to_owned(), outcome: Box::new(outcome), head, untold: true }).await? {
            Applied::First(first) => Ok(first),
            other => Err(mismatch(&other)),
        }
    }

    /// Notes that the turn of a run answers others too, and what it is to do now. Durable when this returns; the turn must not start before.
    ///
    /// # Errors
    /// Nothing was written; `NotFound` when the run has ended.
    pub async fn merge_runs(&self, file_id: &str, merged: Vec<String>, spec: String) -> Result<(), StoreError> {
        self.apply(Op::Merge { file_id: file_id.to_owned(), merged, spec }).await.map(drop)
    }

    /// Notes that the transcripts of these runs are complete.
    ///
    /// # Errors
    /// Nothing was written; then their transcripts are looked at again at the next start.
    pub async fn told(&self, file_ids: Vec<String>) -> Result<(), StoreError> {
        self.apply(Op::Told { file_ids }).await.map(drop)
    }

    /// What the key of this run leads to, if it was used; nothing is accepted.
    ///
    /// # Errors
    /// The question could not be answered.
    pub async fn known_run(&self, run: NewRun) -> Result<Option<Accepted>, StoreError> {
        match self.apply(Op::Known(Box::new(run))).await? {
            Applied::Known(known) => Ok(known.map(|known| *known)),
            other => Err(mismatch(&other)),
        }
    }

    /// Runs that have ended and whose transcripts lack their end, oldest first, at most `limit`.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub async fn untold(&self, limit: usize) -> Result<Vec<RunRecord>, StoreError> {
        match self.ask(Query::Untold(limit)).await? {
            Found::All(runs) => Ok(runs),
            other => Err(mismatch(&other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::run::RunStatus;
    use crate::store::contract::{NOW, new_run, place};

    fn ended() -> Outcome {
        Outcome::without_work(RunStatus::Ok, None, "done", NOW + 1)
    }

    #[tokio::test]
    async fn runs_that_are_merged_name_their_carrier_and_the_carrier_its_new_work() {
        let (_dir, path) = place();
        let store = Store::open(&path).unwrap();
        for name in ["a", "b", "c"] {
            let queue = (name != "a").then(|| "{}".to_owned());
            store.accept_run(NewRun { queue, ..new_run(name) }).await.unwrap();
        }
        store.merge_runs("file-c", vec!["file-a".into(), "file-b".into()], "both".into()).await.unwrap();
        let unfinished = store.unfinished().await.unwrap();
        let carriers: Vec<_> = unfinished.iter().map(|run| run.merged_into.as_deref()).collect();
        assert_eq!(carriers, [Some("file-c"), Some("file-c"), None]);
        assert_eq!(
            (unfinished[2].spec.as_str(), unfinished[2].queue.as_deref(), unfinished[0].queue.as_deref()),
            ("both", Some("{}"), None)
        );
        store.finish_run("file-c", ended(), 1).await.unwrap();
        assert_eq!(store.merge_runs("file-c", vec!["file-a".into()], "late".into()).await, Err(StoreError::NotFound));
    }

    #[tokio::test]
    async fn what_is_untold_stays_so_until_it_is_told() {
        let (_dir, path) = place();
        let store = Store::open(&path).unwrap();
        for name in ["a", "b"] {
            store.accept_run(new_run(name)).await.unwrap();
        }
        assert!(store.finish_untold("file-a", ended(), 1).await.unwrap());
        store.finish_run("file-b", ended(), 1).await.unwrap();
        let untold: Vec<_> = store.untold(10).await.unwrap().into_iter().map(|run| run.file_id).collect();
        assert_eq!(untold, ["file-a"]);
        store.told(untold).await.unwrap();
        assert_eq!(store.untold(10).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_key_is_looked_up_without_accepting_anything() {
        let (_dir, path) = place();
        let store = Store::open(&path).unwrap();
        assert_eq!(store.known_run(new_run("a")).await.unwrap(), None);
        assert_eq!(store.unfinished().await.unwrap(), []);
        store.accept_run(new_run("a")).await.unwrap();
        assert!(matches!(store.known_run(new_run("a")).await.unwrap(), Some(Accepted::Same(run)) if run.file_id == "file-a"));
        assert_eq!(store.known_run(NewRun { digest: [8; 32], ..new_run("a") }).await.unwrap(), Some(Accepted::Conflict));
    }
}
