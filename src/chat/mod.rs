//! What a chat understands of a message before it is a turn: stop words, slash commands and directives, attachments. Pure but for writing attachments down.

pub mod commands;
pub mod history;
pub mod queue_words;
pub mod replies;
pub mod table;
