//! What a chat understands of a message before it is a turn: stop words, slash commands and directives, attachments. Pure but for writing attachments down.

pub mod attachments;
pub mod commands;
pub mod history;
pub mod media;
pub mod queue_words;
pub mod replies;
pub mod table;

/// Whether a runner of this name answers by a model, so that models, levels and tokens mean something.
#[must_use]
pub fn uses_models(runner: &str) -> bool {
    crate::runs::runners::uses_model(runner)
}
