//! Transcripts that lack the end of a run, because the disk was full when it ended: written at the next start, from the run's journal.

use std::io;
use std::path::Path;

use tracing::{info, warn};

use super::answer::Answer;
use super::chronicle::{Closing, Opening};
use super::supervisor::Supervisor;
use crate::journal::reader::Reader;
use crate::store::error::StoreError;

/// Most runs whose end is made good at one start.
const MOST: usize = 1000;
/// How much of a journal is read in one go.
const STEP_BYTES: usize = 256 << 10;

impl Supervisor {
    /// Completes the transcripts of runs that an earlier daemon could not write down.
    ///
    /// # Errors
    /// The store cannot be read or written; it is tried again at the next start.
    pub async fn tell_again(&self) -> Result<(), StoreError> {
        let mut told = Vec::new();
        for run in self.inner.store.untold(MOST).await? {
            let (Some(outcome), Ok(work)) = (run.outcome.clone(), serde_json::from_str(&run.spec)) else { continue };
            let path = self.journal_path(&run);
            let of_model = super::runners::uses_model(&run.runner);
            let read = move || Ok::<_, io::Error>((answer_in(&path, of_model)?, super::spoken::read(&path, of_model)?));
            let (answer, spoken) = match tokio::task::spawn_blocking(read).await {
                Ok(Ok(read)) => read,
                Ok(Err(cause)) => {
                    warn!(run_id = %run.run_id, %cause, "the journal of a run cannot be read; its transcript stays without it");
                    continue;
                }
                Err(_) => continue,
            };
            let (file_id, at) = (run.file_id.clone(), outcome.started_at.unwrap_or(outcome.ended_at));
            if self.inner.chronicle.close(Closing { opening: Opening { run, work, at }, answer, spoken, outcome }).await.written {
                told.push(file_id);
            }
        }
        if !told.is_empty() {
            info!(runs = told.len(), "transcripts were completed");
            self.inner.store.told(told).await?;
        }
        Ok(())
    }
}

fn answer_in(path: &Path, of_model: bool) -> io::Result<Answer> {
    let mut reader = Reader::open(path)?;
    let mut answer = Answer::default();
    answer.of_model(of_model);
    loop {
        let lines = reader.read_after(STEP_BYTES)?;
        if lines.is_empty() {
            return Ok(answer);
        }
        for line in lines {
            answer.take(&line.bytes);
        }
    }
}
